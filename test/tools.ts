// What the tests share: a Redis for each test file, the scripts as real
// processes, and waiting for a condition.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createClient } from "redis";

export const root = fileURLToPath(new URL("..", import.meta.url));
/**
 * How many tests of one file run at once: each has several processes, and a
 * busy machine answers late.
 */
export const atOnce = Math.min(4, availableParallelism());
/** A long run: SOAK=1 for all files, or for some: SOAK=promises,away. */
const { SOAK } = process.env;
export const long = SOAK === "1" ||
  Boolean(SOAK?.split(",").some((name) => process.argv[1]?.includes(name)));
/**
 * The counts of a long run, on redis-server where there is one; a tenth of them
 * otherwise.
 */
export const soak = (count: number, kind = kinds[0]) =>
  long && kind === kinds[0] ? count : Math.ceil(count / 10);

/** All settings of all scripts, as their --help and README have them. */
export const defaults: Record<string, string> = {
  REDIS_URL: "redis://localhost:6379/5",
  QUEUE: "task:prodcons:queue",
  CHANNEL: "task:pubsub:channel",
  ORDER: "lifo",
  WORK_MS: "0",
  MQ_HOST: "127.0.0.1",
  PORT: "3000",
  LEASE_MS: "10000",
  BATCH: "64",
  WAIT_MS: "5000",
  STREAM: "task:stream",
  MQ_GROUP: "workers",
  FROM: "first",
  TRIES: "3",
};
export const flag = (name: string) =>
  `--${name.replace("MQ_", "").toLowerCase().replace("_", "-")}`;

// Every process that a test starts, so that none is left, also when the test
// run itself fails.
const running = new Set<ChildProcess>();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => process.exit(1));
}

/**
 * Waits until `ready` gives something; the time is a bound for failing, not for
 * waiting.
 */
export async function until<T>(
  what: string,
  ready: () => T | Promise<T>,
  ms = 90_000, // beside other work, eight scripts may take 30 s to start
): Promise<NonNullable<T>> {
  const late = sleep(ms, null, { ref: false }); // ready() may never answer
  for (const end = Date.now() + ms;;) {
    const found = await Promise.race([ready(), late]);
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited ${ms} ms for ${what}`);
    await sleep(10);
  }
}

export type Program = ReturnType<typeof program>;
function program(
  command: string,
  args: string[],
  options: { env?: NodeJS.ProcessEnv; detached?: boolean; cwd?: string } = {},
) {
  const child = spawn(command, args, {
    cwd: root,
    stdio: "pipe",
    env: bare(), // a program of a test's own gets no colours, either
    ...options,
  });
  running.add(child);
  const self = {
    child,
    out: "",
    err: "",
    get lines() {
      return self.out.split("\n").slice(0, -1);
    },
    /** What the lines `Task get …` say, in their order. */
    get tasks() {
      return self.lines.filter((line) => line.startsWith("Task get ")).map((
        line,
      ) => line.slice(9));
    },
    /**
     * The same of the lines `Task done …`, which a script with WORK_MS prints.
     */
    get done() {
      return self.lines.filter((line) => line.startsWith("Task done "))
        .map((line) => line.slice(10));
    },
    says: async (text: string | RegExp, ms?: number) => {
      const said = () => {
        const all = self.out + self.err;
        if (typeof text === "string" ? all.includes(text) : text.test(all)) {
          return true;
        }
        if (!running.has(child)) throw new Error(`it ended without ${text}`);
      };
      await until(`${text}`, said, ms).catch(({ message }) => {
        const end = self.out.slice(-2000) + self.err.slice(-2000);
        const name = args.slice(2).join(" ");
        throw new Error(`${message} from ${name}; it said:\n${end}`);
      });
    },
    /**
     * Sends the signal and gives the exit status, or the signal that ended it.
     */
    end: (signal: NodeJS.Signals = "SIGINT") => {
      child.kill(signal);
      return self.status;
    },
    status: new Promise<number | NodeJS.Signals | null>((resolve) => {
      child.on("close", (status, signal) => {
        running.delete(child);
        resolve(status ?? signal);
      });
    }),
  };
  child.on("error", (err) => {
    self.err += err;
  });
  child.stdin.on("error", () => {});
  child.stdout.setEncoding("utf8").on("data", (chunk) => {
    self.out += chunk;
  });
  child.stderr.setEncoding("utf8").on("data", (chunk) => {
    self.err += chunk;
  });
  return self;
}

/** Runs a command until it ends or the test does. */
export function exec(
  t: TestContext,
  command: string,
  args: string[],
  options: Parameters<typeof program>[2] = {},
) {
  const self = program(command, args, options);
  t.after(() => self.end("SIGKILL"));
  return self;
}

// In a terminal Node's test runner asks what it starts for colours.
const notALearners = [...Object.keys(defaults), "MQ_NAME", "FORCE_COLOR"];
/** A reliable consumer has two connections, each of which says how it fares. */
export const connections = (file: string) => file.includes("reliable") ? 2 : 1;

/** The environment of a learner who has set nothing but `env`. */
export const bare = (env: Record<string, string | undefined> = {}) => ({
  ...Object.fromEntries(
    Object.entries(process.env).filter(([name]) =>
      !notALearners.includes(name)
    ),
  ),
  ...env,
});

/**
 * Runs one of our scripts as a learner does, only without the wrapper of npx,
 * which would not pass a signal on.
 */
export const script = (
  t: TestContext,
  file: string,
  args: string[] = [],
  env: Record<string, string | undefined> = {},
) =>
  exec(t, process.execPath, ["--import", "tsx", ...quick, file, ...args], {
    env: bare(env),
  });
// tsx switches source maps on; to read redis's is a tenth of each start.
const quick = [
  "--import",
  "data:text/javascript,process.setSourceMapsEnabled(false)",
];

// Below the range that systems give to outgoing connections (from 32,768): one
// of those could take the port while a test's Redis is down, and also the port
// 10,000 above, which a cluster's node takes, too.
let next = 10_000 + process.pid * 97 % 12_000;
export async function freePort(): Promise<number> {
  const port = next++;
  const server = createServer().listen(port, "127.0.0.1");
  const free = await once(server, "listening").then(() => true, () => false);
  if (!free) return freePort();
  server.close();
  await once(server, "close");
  return port;
}

export const found = (command: string) => {
  try {
    return process.platform === "win32"
      ? execFileSync("where", [command], {
        stdio: ["ignore", "pipe", "ignore"],
      }).toString().split("\r\n")[0]!
      : execFileSync("sh", ["-c", `command -v ${command}`]).toString().trim();
  } catch {
    return "";
  }
};
export const hasRedisServer = found("redis-server") !== "";
export const chromium = [
  "chromium",
  "chromium-browser",
  "google-chrome",
  "chrome",
].map(found).find((path) => path);
/** What Chromium needs to run as root and without a screen. */
export const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic"].concat(
  "--no-first-run --disable-background-networking".split(" "),
  "--disable-component-update --disable-sync".split(" "),
);
export const noRedisServer = hasRedisServer
  ? false
  : "needs redis-server on the PATH: the embedded server keeps nothing on disk";

export type Kind = "redis-server" | "embedded server";
/** A Redis of its own: stop() and start() it as often as the test needs. */
export async function redis(kind: Kind, ...options: string[]) {
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), "redis-mq-"));
  const url = `redis://127.0.0.1:${port}/5`;
  let server: Program;
  const self = {
    kind,
    port,
    url,
    get process() {
      return server;
    },
    async start() {
      server = kind === "redis-server"
        ? program("redis-server", [
          "--port",
          String(port),
          "--bind",
          "127.0.0.1",
          "--dir",
          dir,
          "--save",
          "",
          ...options,
        ])
        : program(process.execPath, ["--import", "tsx", "extras/redis.ts"], {
          env: bare({ REDIS_URL: url }),
        });
      await server.says(
        kind === "redis-server" ? "Ready to accept connections" : /listens/,
      );
    },
    /** kill -9, as a crash is. */
    stop: () => server.end("SIGKILL"),
    async remove() {
      await self.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
  await self.start();
  return self;
}
export type Redis = Awaited<ReturnType<typeof redis>>;

/** A plain node-redis client for the test's own look at Redis. */
export async function look(t: Pick<TestContext, "after">, url: string) {
  const client = createClient({ url, commandOptions: { timeout: 0 } });
  client.on("error", () => {});
  await client.connect();
  t.after(() => client.destroy());
  return client;
}

let count = 0;
/** A queue and a channel that no other test uses. */
export const names = () => ({
  QUEUE: `queue:${process.pid}:${++count}`,
  CHANNEL: `channel:${process.pid}:${count}`,
});

export const kinds: Kind[] = hasRedisServer
  ? ["redis-server", "embedded server"]
  : ["embedded server"];
/**
 * The tests of one file, on each kind of Redis that there is, several at once.
 */
export function onEachRedis(
  title: string,
  tests: (get: () => Redis, kind: Kind) => void,
  on = kinds,
) {
  for (const kind of on) {
    describe(`${title}, on ${kind}`, { concurrency: atOnce }, () => {
      let server: Redis;
      before(async () => {
        server = await redis(kind);
      });
      after(() => server.remove());
      tests(() => server, kind);
    });
  }
}
