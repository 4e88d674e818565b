// Bench: how fast the scripts are, beside the articles' Python, C clients and bare Node.
//
//   Run:      npm run bench                      under 5 minutes (8 where a round trip is slow), on a machine that does nothing else; needs redis-server
//             npm run bench -- --json FILE       writes every figure too
//             npm run bench -- --scale           also how cost grows: 3 minutes and 12 GB of memory more
//             npm run bench -- --readme          also puts the table into README.md and README.zh-CN.md
//   Method:   real processes on a Redis of its own, one after the other in turn, five rounds. What counts is the ratio.
//             wrk, python3 with redis-py and Flask, and gunicorn are measured where they are installed.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { cpus, freemem, loadavg, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import {
  bare,
  exec,
  freePort,
  hasRedisServer,
  look,
  names,
  type Program,
  redis,
  root,
  until,
} from "./tools.ts";

const { values: flags } = parseArgs({
  options: {
    json: { type: "string" },
    readme: { type: "boolean" },
    scale: { type: "boolean" },
  },
});
if (!hasRedisServer) {
  console.error(
    "The bench needs redis-server on the PATH (Debian: apt install redis-server; macOS: brew install redis).",
  );
  process.exit(1);
}
const rounds = 5;
delete process.env.PYTHONUNBUFFERED; // with it Python writes each piece of a line by itself, which no terminal asks for
const t = { after() {} } as unknown as TestContext; // what tools.ts starts ends with the bench at the latest

// 1. What there is to measure with.

/** What a command prints, or "" where there is none. */
function said(command: string, ...args: string[]) {
  try {
    return execFileSync(command, args, { stdio: ["ignore", "pipe", "ignore"] })
      .toString().trim();
  } catch (err: any) {
    return String(err.stdout ?? "").trim(); // wrk --version ends with status 1
  }
}
const version = (command: string, ...args: string[]) =>
  said(command, ...args).match(/\d+\.\d+[\w.]*/)?.[0] ?? "";
const python =
  ["python3", "/usr/bin/python3", "python"].find((name) =>
    said(name, "-c", "import redis; print(1)")
  ) ?? "";
const pythonHas = (module: string) =>
  python &&
  said(
    python,
    "-c",
    `from importlib.metadata import version; import ${module}; print(version("${module}"))`,
  );
const versions = {
  "Node": process.version.slice(1),
  "redis-server": version("redis-server", "--version"),
  "node-redis": JSON.parse(
    readFileSync(join(root, "node_modules/redis/package.json"), "utf8"),
  ).version as string,
  "tsx": JSON.parse(
    readFileSync(join(root, "node_modules/tsx/package.json"), "utf8"),
  ).version as string,
  "redis-benchmark": version("redis-benchmark", "--version"),
  "wrk": version("wrk", "--version"),
  "Python": python && version(python, "--version"),
  "redis-py": python &&
    said(python, "-c", "import redis; print(redis.__version__)"),
  "Flask": pythonHas("flask"),
  "gunicorn": pythonHas("gunicorn"),
};
const without = (name: keyof typeof versions) =>
  versions[name] ? "" : `not measured: no ${name}`;
const date = new Date().toISOString().slice(0, 10);
const machine = `${cpus().length} cores (${cpus()[0]?.model.trim()}), ${
  Math.round(totalmem() / 2 ** 30)
} GB`;
const load = loadavg()[0]!;
if (load > cpus().length / 4) {
  console.error(
    `This machine is busy (load average ${
      load.toFixed(1)
    }): the figures will not be worth much.`,
  );
}

const server = await redis("redis-server");
const rcon = await look(t, server.url);
const dir = mkdtempSync(join(tmpdir(), "redis-mq-bench-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
function temp(name: string, text: string) {
  const file = join(dir, name);
  writeFileSync(file, text);
  return file;
}

// The articles' programs in a few words. Each line leaves at once, as it does in a terminal.
const py = (name: string, text: string) =>
  temp(
    `${name}.py`,
    `
import sys, redis
sys.stdout.reconfigure(line_buffering=True)
rcon = redis.StrictRedis(host="127.0.0.1", port=${server.port}, db=5)
${text}`,
  );
const pyConsumer = py(
  "consumer",
  `
print("listen task queue")
while True:
    print("Task get", rcon.blpop(sys.argv[1], 0)[1])
`,
);
const pyProducer = py(
  "producer",
  `
print("ready")
for line in sys.stdin:
    rcon.lpush(sys.argv[1], line.rstrip())
    print("lpush", sys.argv[1], line.rstrip())
`,
);
const pySubscriber = py(
  "subscriber",
  `
ps = rcon.pubsub()
ps.subscribe(sys.argv[1])
print("listen task channel")
for i in ps.listen():
    if i["type"] == "message":
        print("Task get", i["data"])
`,
);
const pyPage = py(
  "page",
  `
import logging, os, random
from flask import Flask, redirect
app = Flask(__name__)
@app.route("/prodcons")
def prodcons():
    elem = random.randrange(10)
    rcon.lpush(os.environ["QUEUE"], elem)
    logging.info("lpush %s", elem)
    return redirect("/")
if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
`,
);

// The same in Node without tsx, node-redis and zod: what the language alone takes.
const bareConsumer = temp(
  "consumer.mjs",
  `
import { createConnection } from "node:net";
const [queue, batch] = process.argv.slice(2);
const socket = createConnection(${server.port}, "127.0.0.1").setNoDelay().setEncoding("latin1");
const words = batch ? ["BLMPOP", "0", "1", queue, "LEFT", "COUNT", batch] : ["BLPOP", queue, "0"];
const command = "*" + words.length + "\\r\\n" + words.map((word) => "$" + word.length + "\\r\\n" + word + "\\r\\n").join("");
socket.once("data", () => {
  process.stdout.write("listen task queue\\n");
  socket.write(command);
  let reply = "";
  socket.on("data", (chunk) => {
    reply += chunk;
    const lines = reply.split("\\r\\n");
    const first = batch ? 5 : 4; // *2, $9, the queue, then *64 and each message with its length, or one
    if (lines.length < first || lines.length - 1 < (batch ? 4 + 2 * lines[3].slice(1) : 5)) return;
    let out = "";
    for (let i = first; i < lines.length - 1; i += 2) out += "Task get " + lines[i] + "\\n";
    reply = "";
    process.stdout.write(out);
    socket.write(command);
  });
});
socket.write("SELECT 5\\r\\n");
`,
);
const barePage = temp(
  "page.mjs",
  `
import { createServer } from "node:http";
createServer((req, res) => res.writeHead(302, { Location: "/" }).end()).listen(process.env.PORT, "127.0.0.1", () => console.log("ready"));
`,
);
const headOnly = temp("head.lua", `wrk.method = "HEAD"`);
const bareClicks = temp(
  "clicks.mjs",
  `
import { Agent, get } from "node:http";
const agent = new Agent({ keepAlive: true, maxSockets: 16 });
const click = () => new Promise((resolve, reject) => get(process.argv[2], { agent, method: process.argv[3] }, (res) => res.resume().on("end", resolve)).on("error", reject));
const end = Date.now() + 2000;
let count = 0;
await Promise.all(Array.from({ length: 16 }, async () => { for (; Date.now() < end; count++) await click(); }));
console.log("Requests/sec: " + count / 2);
process.exit();
`,
);

// 2. How to measure.

/** A program that is ready; from then on its lines are counted and not kept. */
async function start(
  command: string,
  args: string[],
  env: Record<string, string> = {},
  ready: string | RegExp = /\n/,
) {
  const self = exec(t, command, args, {
    env: bare({ REDIS_URL: server.url, ...env }),
  });
  await self.says(ready, 60_000);
  self.err = "";
  let lines = 0;
  let wanted = Infinity;
  let reached = () => {};
  let failed = (_: Error) => {};
  void self.status.then((status) =>
    failed(new Error(`${command} ${args.join(" ")} ended with ${status}`))
  );
  self.child.stderr.removeAllListeners("data").resume();
  self.child.stdout.removeAllListeners("data").on("data", (chunk: string) => {
    for (let i = chunk.indexOf("\n"); i >= 0; i = chunk.indexOf("\n", i + 1)) {
      lines++;
    }
    if (lines >= wanted) reached();
  });
  return {
    ...self,
    get lines() {
      return lines;
    },
    /** Resolves at the count-th line from now. */
    next: (count: number) =>
      new Promise<void>((resolve, reject) => {
        wanted = lines + count;
        const late = setTimeout(() =>
          reject(
            new Error(
              `${args.at(-1)}: ${lines} of ${wanted} lines after 5 minutes`,
            ),
          ), 300_000);
        failed = reject;
        reached = () => {
          clearTimeout(late);
          wanted = Infinity;
          resolve();
        };
      }),
  };
}
type Started = Awaited<ReturnType<typeof start>>;
const ours = (
  file: string,
  env: Record<string, string> = {},
  args: string[] = [],
) => start(process.execPath, ["--import", "tsx", file, ...args], env);

async function timed(work: () => Promise<unknown>) {
  const from = performance.now();
  await work();
  return performance.now() - from;
}

/** Resident memory in MB. */
function memory(program: Pick<Program, "child">) {
  const status = `/proc/${program.child.pid}/status`;
  const kB = existsSync(status)
    ? readFileSync(status, "utf8").match(/VmRSS:\s+(\d+)/)?.[1]
    : said("ps", "-o", "rss=", "-p", String(program.child.pid));
  return Number(kB) / 1024;
}

const fill = (queue: string, count: number) =>
  rcon.eval("for i = 1, ARGV[1] do redis.call('LPUSH', KEYS[1], i % 10) end", {
    keys: [queue],
    arguments: [String(count)],
  });

/** ms from the moment when `count` messages are in the queue, all at once, to the last line printed by the consumers. */
async function drain(
  count: number,
  begin: (queue: string) => Promise<Started>[],
  see = (_: Started[]) => {},
) {
  const queue = names().QUEUE;
  await fill(`${queue}:filled`, count);
  const consumers = await Promise.all(begin(queue));
  const time = await timed(async () => {
    const printed = consumers.length === 1 && consumers[0]!.next(count);
    await rcon.rename(`${queue}:filled`, queue);
    await (printed ||
      until(
        `${count} lines`,
        () =>
          consumers.reduce((sum, consumer) => sum + consumer.lines, 0) >= count,
        300_000,
      ));
  });
  see(consumers);
  await Promise.all(consumers.map((consumer) => consumer.end("SIGKILL")));
  await rcon.unlink(queue);
  return time;
}
const drainWith =
  (command: string, args: string[], last: string[] = []) => () =>
    drain(
      50_000,
      (queue) => [start(command, [...args, queue, ...last], { QUEUE: queue })],
    );
const drainOurs = (file: string) => () =>
  drain(50_000, (queue) => [ours(file, { QUEUE: queue })]);

/** ms that redis-benchmark, a C client, takes. */
async function benchmark(
  count: number,
  connections: number,
  pipeline: number,
  command: string[],
) {
  const run = spawn("redis-benchmark", [
    "-p",
    String(server.port),
    "--dbnum",
    "5",
    "-c",
    `${connections}`,
    "-P",
    `${pipeline}`,
    "-n",
    `${count}`,
    "--csv",
    ...command,
  ]);
  let out = "";
  for await (const chunk of run.stdout) out += chunk;
  const rate = Number(
    out.trim().split("\n").at(-1)?.match(/^".*?","([\d.]+)"/)?.[1],
  );
  return count / rate * 1000;
}
async function benchmarkDrain(
  count: number,
  pops: number,
  command: (queue: string) => string[],
) {
  const queue = names().QUEUE;
  await fill(queue, count);
  const time = await benchmark(pops, 1, 1, command(queue));
  if (await rcon.lLen(queue)) {
    throw new Error("redis-benchmark left messages in the queue");
  }
  return time;
}

/** p50 in ms of 1,000 messages, each pushed when the one before is printed: a line to the producer to a line from the consumer. */
async function pushToPrint(
  producer: (queue: string) => Promise<Started>,
  consumer: (queue: string) => Promise<Started>,
) {
  const queue = names().QUEUE;
  const [from, to] = [await producer(queue), await consumer(queue)];
  const times: number[] = [];
  for (let i = 0; i < 1200; i++) {
    const printed = to.next(1);
    times.push(
      await timed(() => {
        from.child.stdin.write("7\n");
        return printed;
      }),
    );
  }
  await Promise.all([from.end("SIGKILL"), to.end("SIGKILL")]);
  return median(times.slice(200)); // the first ones find cold programs
}

/** Messages a second from the first publish to the last line. */
async function burst(
  count: number,
  begin: (channel: string) => Promise<Started>,
  linesEach = 1,
) {
  const channel = names().CHANNEL;
  const subscriber = await begin(channel);
  const time = await timed(async () => {
    const printed = subscriber.next(count * linesEach);
    await Promise.all([
      printed,
      benchmark(count, 8, 64, ["publish", channel, "7"]),
    ]);
  });
  await subscriber.end("SIGKILL");
  return count / time * 1000;
}

/** How many of 1,000,000 messages of a burst arrive with Redis's own limit to what may wait for a subscriber. */
async function arrived(begin: (channel: string) => Promise<Started>) {
  const channel = names().CHANNEL;
  await rcon.configSet("client-output-buffer-limit", "pubsub 32mb 8mb 60");
  const subscriber = await begin(channel);
  await benchmark(1_000_000, 8, 64, ["publish", channel, "7"]);
  for (
    let before = -1;
    before !== subscriber.lines && subscriber.lines < 1_000_000;
  ) {
    before = subscriber.lines;
    await sleep(500);
  }
  await subscriber.end("SIGKILL");
  await rcon.configSet("client-output-buffer-limit", "pubsub 0 0 0");
  return subscriber.lines;
}

/** Clicks a second on /prodcons, 16 connections; with HEAD the page answers them without Redis. */
async function clicks(
  command: string,
  args: (port: string) => string[],
  method = "GET",
) {
  const port = String(await freePort());
  const queue = names().QUEUE;
  const log = join(dir, "page.log");
  const page = spawn(command, args(port), {
    env: bare({ REDIS_URL: server.url, QUEUE: queue, PORT: port }),
    cwd: command === process.execPath ? root : dir,
    stdio: ["ignore", "ignore", openSync(log, "w")], // what the pages print is not read: that would take a part of the machine
  });
  process.once("exit", () => page.kill());
  const url = `http://127.0.0.1:${port}/prodcons`;
  await until("the page", () => {
    if (page.exitCode !== null) {
      throw new Error(`${args(port).join(" ")} ended:\n${readFileSync(log)}`);
    }
    return fetch(url, { redirect: "manual" }).then(() => true, () => false);
  });
  const client = versions.wrk
    ? spawn("wrk", [
      "-t1",
      "-c16",
      "-d2s",
      ...(method === "HEAD" ? ["-s", headOnly] : []),
      url,
    ])
    : spawn(process.execPath, [bareClicks, url, method]);
  let out = "";
  for await (const chunk of client.stdout) out += chunk;
  page.kill();
  await once(page, "close");
  await rcon.unlink(queue);
  if (/Non-2xx/.test(out)) {
    throw new Error(
      `the page at ${args(port).join(" ")} refused clicks:\n${out}`,
    );
  }
  return Number(out.match(/Requests\/sec:\s+([\d.]+)/)?.[1]);
}

/** ms in which producer.ts, running already, pushes and prints 100,000 lines of standard input. */
async function produce() {
  const queue = names().QUEUE;
  const producer = exec(t, process.execPath, [
    "--import",
    "tsx",
    "producer.ts",
    "-",
  ], { env: bare({ REDIS_URL: server.url, QUEUE: queue }) });
  producer.child.stdin.write("first\n");
  await producer.says("first");
  producer.child.stdout.removeAllListeners("data").resume();
  const time = await timed(async () => {
    producer.child.stdin.end(
      Array.from({ length: 100_000 }, (_, i) => `${i + 1}\n`).join(""),
    );
    await once(producer.child.stdout, "end");
  });
  if (await rcon.lLen(queue) !== 100_001) {
    throw new Error("producer.ts did not push each line");
  }
  await rcon.unlink(queue);
  return time;
}

/** ms from the start of a process to what it prints first. */
async function startUp(command: string, args: string[]) {
  const from = performance.now();
  const child = spawn(command, args, {
    cwd: root,
    env: bare({ REDIS_URL: server.url, QUEUE: names().QUEUE }),
    stdio: ["ignore", "pipe", "ignore"],
  });
  await once(child.stdout, "data");
  const time = performance.now() - from;
  child.kill("SIGKILL");
  await once(child, "close");
  return time;
}

/** MB of a program that waits. */
async function idle(begin: () => Promise<Started>) {
  const program = await begin();
  await sleep(500);
  const size = memory(program);
  await program.end("SIGKILL");
  return size;
}

// 3. What is measured: by the name of each program, how, or why not; and the ratios that issue 6 wants.

const PY = "Python (redis-py)";
const node = process.execPath;
const tsx = (file: string) => ["--import", "tsx", file];
// .mjs: from .mts tsx would drop an import that is not used
const importing = (name: string, modules: string[], more = "") =>
  tsx(
    temp(
      `${name}.mjs`,
      `${
        modules.map((module) =>
          `import * as ${module} from "${import.meta.resolve(module)}";\n`
        ).join("")
      }${more}\nconsole.log("ready");\n`,
    ),
  );
const onlyTsx = importing("tsx", []);
const tsxRedisZod = importing("modules", ["redis", "zod"]);
const connected =
  `await redis.createClient({ url: process.env.REDIS_URL }).connect();`;
const redisConnected = importing("redis-connected", ["redis"], connected);
const redisZodConnected = importing(
  "both-connected",
  ["redis", "zod"],
  connected,
);
type Side = (() => Promise<number>) | string;
interface Work {
  title: string;
  unit: string;
  more?: boolean; // more is better
  sides: Record<string, Side>;
  ratios: [side: string, peer: string, goal?: number][];
}
const py3 = (name: "redis-py" | "Flask" | "gunicorn", side: Side) =>
  without(name) || side;
const c = (side: Side) => without("redis-benchmark") || side;

const works: Work[] = [{
  title: "Drain a queue of 50,000",
  unit: "ms",
  sides: {
    [PY]: py3("redis-py", drainWith(python, [pyConsumer])),
    "consumer.ts": drainOurs("consumer.ts"),
    "extras/batch-consumer.ts": drainOurs("extras/batch-consumer.ts"),
    "extras/reliable-consumer.ts": drainOurs("extras/reliable-consumer.ts"),
    "bare node:net, BLPOP": drainWith(node, [bareConsumer]),
    "bare node:net, BLMPOP 64": drainWith(node, [bareConsumer], ["64"]),
    "redis-benchmark (C), BLPOP": c(() =>
      benchmarkDrain(50_000, 50_000, (queue) => ["BLPOP", queue, "0"])
    ),
    "redis-benchmark (C), BLMPOP 64": c(() =>
      benchmarkDrain(
        50_000,
        Math.ceil(50_000 / 64),
        (queue) => ["BLMPOP", "0", "1", queue, "LEFT", "COUNT", "64"],
      )
    ),
  },
  ratios: [
    ["consumer.ts", PY, 0.9],
    ["consumer.ts", "bare node:net, BLPOP"],
    ["consumer.ts", "redis-benchmark (C), BLPOP"],
    ["extras/batch-consumer.ts", PY, 0.08],
    ["extras/batch-consumer.ts", "bare node:net, BLMPOP 64"],
    ["extras/batch-consumer.ts", "redis-benchmark (C), BLMPOP 64", 4],
    ["extras/reliable-consumer.ts", PY, 1.5],
  ],
}, {
  title: "Push to print, one message at a time, p50",
  unit: "ms",
  sides: {
    [PY]: py3(
      "redis-py",
      () =>
        pushToPrint(
          (queue) => start(python, [pyProducer, queue]),
          (queue) => start(python, [pyConsumer, queue]),
        ),
    ),
    "producer.ts - and consumer.ts": () =>
      pushToPrint(async (queue) => {
        const producer = exec(t, node, [...tsx("producer.ts"), "-"], {
          env: bare({ REDIS_URL: server.url, QUEUE: queue }),
        });
        producer.child.stdout.removeAllListeners("data").resume();
        return producer as unknown as Started;
      }, (queue) => ours("consumer.ts", { QUEUE: queue })),
  },
  ratios: [["producer.ts - and consumer.ts", PY, 1.2]],
}, {
  title:
    "One subscriber, a burst of 1,000,000 (Python: 200,000), Redis's limit of what may wait lifted",
  unit: "/s",
  more: true,
  sides: {
    [PY]: py3(
      "redis-py",
      c(() =>
        burst(200_000, (channel) => start(python, [pySubscriber, channel]))
      ),
    ),
    "subscriber.ts": c(() =>
      burst(1_000_000, (channel) => ours("subscriber.ts", { CHANNEL: channel }))
    ),
    "redis-cli (C)": c(() =>
      burst(
        1_000_000,
        (channel) =>
          start(
            "redis-cli",
            ["-p", String(server.port), "subscribe", channel],
            {},
            "1\n",
          ),
        3,
      )
    ),
  },
  ratios: [["subscriber.ts", PY, 4], ["subscriber.ts", "redis-cli (C)"]],
}, {
  title: "The same burst of 1,000,000 with Redis's default limit: what arrives",
  unit: "messages",
  more: true,
  sides: {
    [PY]: py3(
      "redis-py",
      c(() => arrived((channel) => start(python, [pySubscriber, channel]))),
    ),
    "subscriber.ts": c(() =>
      arrived((channel) => ours("subscriber.ts", { CHANNEL: channel }))
    ),
  },
  ratios: [],
}, {
  title: "Clicks on the page, 16 connections",
  unit: "/s",
  more: true,
  sides: {
    "Flask's development server": py3(
      "Flask",
      () => clicks(python, () => [pyPage]),
    ),
    "gunicorn": py3(
      "gunicorn",
      () =>
        clicks(
          python,
          (port) => ["-m", "gunicorn", "-b", `127.0.0.1:${port}`, "page:app"],
        ),
    ),
    "server.ts": () => clicks(node, () => tsx("server.ts")),
    "server.ts, HEAD: 302 without Redis": () =>
      clicks(node, () => tsx("server.ts"), "HEAD"),
    "bare node:http, no Redis": () => clicks(node, () => [barePage]),
  },
  // Without wrk our own client is slower than the page, so that what it shows of the page reaches nothing.
  ratios: ([["Flask's development server", 20], ["gunicorn", 10], [
    "server.ts, HEAD: 302 without Redis",
    0.7,
  ], ["bare node:http, no Redis", undefined]] as const).map((
    [peer, goal],
  ) => ["server.ts", peer, versions.wrk ? goal : undefined]),
}, {
  title: "Push 100,000 messages, LPUSH",
  unit: "ms",
  sides: {
    "seq 1 100000 | producer.ts -": produce,
    "redis-benchmark (C), -P 64": c(async () => {
      const queue = names().QUEUE;
      const time = await benchmark(100_000, 50, 64, ["LPUSH", queue, "100000"]);
      await rcon.unlink(queue);
      return time;
    }),
  },
  ratios: [["seq 1 100000 | producer.ts -", "redis-benchmark (C), -P 64", 3]],
}, {
  title: "Start to ready line",
  unit: "ms",
  sides: {
    [PY]: py3("redis-py", () => startUp(python, [pyConsumer, names().QUEUE])),
    "consumer.ts": () => startUp(node, tsx("consumer.ts")),
    "node alone": () => startUp(node, ["-e", "console.log(1)"]),
    "node + tsx": () => startUp(node, onlyTsx),
    "node + tsx + redis + zod": () => startUp(node, tsxRedisZod),
  },
  ratios: [["consumer.ts", "node + tsx + redis + zod"], [
    "consumer.ts",
    "node alone",
  ], ["consumer.ts", PY]],
}, {
  title: "Memory of a consumer that waits",
  unit: "MB",
  sides: {
    [PY]: py3(
      "redis-py",
      () => idle(() => start(python, [pyConsumer, names().QUEUE])),
    ),
    "consumer.ts": () =>
      idle(() => ours("consumer.ts", { QUEUE: names().QUEUE })),
    "node alone": () =>
      idle(() =>
        start(node, ["-e", "console.log(1); setInterval(() => {}, 1e6)"])
      ),
    "node + tsx + redis, connected": () =>
      idle(() => start(node, redisConnected)),
    "node + tsx + redis + zod, connected": () =>
      idle(() => start(node, redisZodConnected)),
  },
  ratios: [["consumer.ts", "node + tsx + redis, connected"], [
    "consumer.ts",
    "node + tsx + redis + zod, connected",
  ]],
}];

// 4. Measure.

function median(values: number[]) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2
    ? sorted[half]!
    : (sorted[half - 1]! + sorted[half]!) / 2;
}
const say = (line: string) =>
  process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${line}` : `${line}\n`);
const figures = new Map<string, number[]>();
const of = (work: Work, side: string) =>
  figures.get(`${work.title}: ${side}`) ?? [];
const began = Date.now();

await rcon.configSet("client-output-buffer-limit", "pubsub 0 0 0");
for (let round = 1; round <= rounds; round++) {
  for (const work of works) {
    const sides = Object.entries(work.sides);
    if (round % 2 === 0) sides.reverse(); // so that none always has the machine after the same other one
    for (const [side, run] of sides) {
      if (typeof run === "string") continue;
      say(
        `${
          ((Date.now() - began) / 1000).toFixed(0)
        } s, round ${round} of ${rounds}: ${work.title}: ${side}`,
      );
      const figure = await run();
      if (!(figure > 0)) {
        throw new Error(`${work.title}: ${side}: measured ${figure}`);
      }
      figures.set(`${work.title}: ${side}`, [...of(work, side), figure]);
    }
  }
}

// 5. How cost grows: one run of each size.

interface Growth {
  work: string;
  size: number;
  figure: number;
  unit: string;
  memory: number[];
}
const growth: Growth[] = [];
const grown = (
  work: string,
  size: number,
  figure: number,
  unit: string,
  memory: number[],
) => growth.push({ work, size, figure, unit, memory });
if (flags.scale) {
  const scale = (work: string, size: number) =>
    say(
      `${((Date.now() - began) / 1000).toFixed(0)} s: ${work}, ${
        size.toLocaleString("en")
      }`,
    );

  for (
    const file of [
      "consumer.ts",
      "extras/batch-consumer.ts",
      "extras/reliable-consumer.ts",
    ]
  ) {
    for (const count of [1000, 10_000, 100_000, 1_000_000]) {
      const work = `Messages drained by ${file}`;
      scale(work, count);
      let sizes: number[] = [];
      const time = await drain(
        count,
        (queue) => [ours(file, { QUEUE: queue })],
        (consumers) => {
          sizes = consumers.map(memory);
        },
      );
      grown(work, count, time * 1000 / count, "µs a message", sizes);
    }
  }

  const queue = names().QUEUE;
  const page = exec(t, node, [...tsx("server.ts"), "--port", "0"], {
    env: bare({ REDIS_URL: server.url, QUEUE: queue }),
  });
  await page.says("http://");
  const url = page.out.match(/http:\S+/)![0];
  for (const length of [0, 1000, 1_000_000, 10_000_000]) {
    const work = "Messages in the queue while the page is served";
    scale(work, length);
    while (await rcon.lLen(queue) < length) {
      await fill(queue, Math.min(1_000_000, length - await rcon.lLen(queue)));
    }
    const times: number[] = [];
    for (let i = 0; i < 300; i++) {
      times.push(
        await timed(async () => {
          await (await fetch(url)).text();
        }),
      );
    }
    grown(work, length, median(times.slice(100)), "ms for GET /", [
      memory(page),
    ]);
  }
  await page.end("SIGKILL");
  await rcon.unlink(queue);

  for (const count of [1, 2, 4, 8]) {
    const work = "Consumers (consumer.ts) that share 100,000 messages";
    scale(work, count);
    let sizes: number[] = [];
    const time = await drain(
      100_000,
      (queue) =>
        Array.from(
          { length: count },
          () => ours("consumer.ts", { QUEUE: queue }),
        ),
      (consumers) => {
        sizes = consumers.map(memory);
      },
    );
    grown(work, count, 100_000 / time * 1000, "messages/s together", sizes);
  }

  for (const count of [1, 10, 100]) {
    const work = "Subscribers (subscriber.ts) that each hear 10,000 messages";
    scale(work, count);
    if (freemem() < count * 120e6) {
      say(
        `left out: ${count} processes need about ${
          Math.ceil(count * 0.12)
        } GB of free memory`,
      );
      continue;
    }
    const channel = names().CHANNEL;
    const subscribers: Started[] = [];
    for (let i = 0; i < count; i += 4) { // not all at once: each takes a core for a second
      subscribers.push(
        ...await Promise.all(
          Array.from(
            { length: Math.min(4, count - i) },
            () => ours("subscriber.ts", { CHANNEL: channel }),
          ),
        ),
      );
    }
    const time = await timed(async () => {
      const printed = Promise.all(
        subscribers.map((subscriber) => subscriber.next(10_000)),
      );
      for (let i = 0; i < 10; i++) {
        await Promise.all(
          Array.from({ length: 1000 }, () => rcon.publish(channel, "7")),
        );
      }
      await printed;
    });
    grown(
      work,
      count,
      count * 10_000 / time * 1000,
      "lines/s together",
      subscribers.map(memory),
    );
    await Promise.all(
      subscribers.map((subscriber) => subscriber.end("SIGKILL")),
    );
  }
}
await server.remove();

// 6. Tell.

const zh: Record<string, string> = {
  "Work": "任务",
  "Program": "程序",
  "Median (min–max)": "中位数（最小–最大）",
  "Beside it (to reach)": "相比（目标）",
  "Measured": "测量",
  "load average before": "之前的平均负载",
  "rounds": "轮",
  "Memory of each process": "每个进程的内存",
  "Cost": "开销",
  "Size": "规模",
  "not measured: no": "未测量：没有",
  "Drain a queue of 50,000": "取完队列里的 50,000 条消息",
  "Push to print, one message at a time, p50":
    "从推入到打印，一次一条消息，p50",
  "One subscriber, a burst of 1,000,000 (Python: 200,000), Redis's limit of what may wait lifted":
    "一个订阅者，一口气发布 1,000,000 条（Python：200,000 条），已取消 Redis 对待发内容的限制",
  "The same burst of 1,000,000 with Redis's default limit: what arrives":
    "同样一口气发布 1,000,000 条，Redis 默认限制：到达的消息",
  "messages": "条",
  "Clicks on the page, 16 connections": "页面点击，16 个连接",
  "Push 100,000 messages, LPUSH": "推入 100,000 条消息，LPUSH",
  "Start to ready line": "从启动到就绪那一行",
  "Memory of a consumer that waits": "等待中的消费者的内存",
  "Flask's development server": "Flask 开发服务器",
  "Messages drained by consumer.ts": "consumer.ts 取完的消息",
  "Messages drained by extras/batch-consumer.ts":
    "extras/batch-consumer.ts 取完的消息",
  "Messages drained by extras/reliable-consumer.ts":
    "extras/reliable-consumer.ts 取完的消息",
  "Messages in the queue while the page is served": "提供页面时队列里的消息",
  "Consumers (consumer.ts) that share 100,000 messages":
    "分担 100,000 条消息的消费者（consumer.ts）",
  "Subscribers (subscriber.ts) that each hear 10,000 messages":
    "各收 10,000 条消息的订阅者（subscriber.ts）",
  "µs a message": "µs/条",
  "ms for GET /": "ms（GET /）",
  "messages/s together": "条/s（合计）",
  "lines/s together": "行/s（合计）",
};
const number = (value: number) =>
  value.toLocaleString(
    "en",
    value >= 100
      ? { maximumFractionDigits: 0 }
      : { maximumSignificantDigits: 2 },
  );
const range = (values: number[]) =>
  number(Math.min(...values)) === number(Math.max(...values))
    ? ""
    : ` (${number(Math.min(...values))}–${number(Math.max(...values))})`;

/** Of a ratio: what it is, what is wanted, and whether that is met. */
function ratio(work: Work, [side, peer, goal]: Work["ratios"][number]) {
  const [mine, theirs] = [of(work, side), of(work, peer)];
  if (!mine.length || !theirs.length) return undefined;
  const value = median(mine) / median(theirs);
  return {
    side,
    peer,
    goal,
    value,
    met: goal === undefined
      ? undefined
      : work.more
      ? value >= goal
      : value <= goal,
  };
}

function table(word: (text: string) => string) {
  const lines = [
    `${word("Measured")} ${date}: ${machine}, ${word("load average before")} ${
      load.toFixed(1)
    }; ${
      Object.entries(versions).filter(([, v]) => v).map(([name, v]) =>
        `${name} ${v}`
      ).join(", ")
    }; ${rounds} ${word("rounds")}`,
    "",
    `| ${
      ["Work", "Program", "Median (min–max)", "Beside it (to reach)"].map(word)
        .join(" | ")
    } |`,
    "| --- | --- | --- | --- |",
  ];
  for (const work of works) {
    let title = word(work.title);
    for (const [side, run] of Object.entries(work.sides)) {
      const values = of(work, side);
      const result = typeof run === "string"
        ? run.replace("not measured: no", word("not measured: no"))
        : `${number(median(values))} ${word(work.unit)}${range(values)}`;
      const beside = work.ratios.filter(([mine]) => mine === side).map((
        wanted,
      ) => ratio(work, wanted)).filter((found) => found !== undefined)
        .map(({ peer, goal, value, met }) =>
          `${number(value)} × ${word(peer)}${
            goal === undefined
              ? ""
              : ` (${work.more ? "≥" : "≤"} ${goal} ${met ? "✓" : "✗"})`
          }`
        );
      lines.push(
        `| ${title} | ${word(side).replace("|", "\\|")} | ${result} | ${
          beside.join("; ")
        } |`,
      );
      title = "";
    }
  }
  if (growth.length) {
    lines.push(
      "",
      `| ${
        ["Work", "Size", "Cost", "Memory of each process"].map(word).join(" | ")
      } |`,
      "| --- | --- | --- | --- |",
    );
  }
  for (const [i, { work, size, figure, unit, memory }] of growth.entries()) {
    lines.push(
      `| ${growth[i - 1]?.work === work ? "" : word(work)} | ${
        size.toLocaleString("en")
      } | ${number(figure)} ${word(unit)} | ${number(median(memory))} MB${
        range(memory)
      } |`,
    );
  }
  return lines.join("\n");
}

say(`${((Date.now() - began) / 1000).toFixed(0)} s: done\n`);
console.log(table((text) => text));
const ratios = works.flatMap((work) =>
  work.ratios.map((wanted) => ratio(work, wanted)).filter((found) =>
    found !== undefined
  ).map((found) => ({ title: work.title, ...found }))
);
for (const { title, side, peer, goal, value, met } of ratios) {
  if (met === false) {
    console.error(
      `Not reached here: ${title}: ${side} is ${
        number(value)
      } × ${peer}, wanted ${goal}`,
    );
  }
}

if (flags.json) {
  const measured = works.map(({ title, unit, sides, ...work }) => ({
    title,
    unit,
    sides: Object.fromEntries(
      Object.entries(sides).map(([side, run]) => {
        const values = figures.get(`${title}: ${side}`) ?? [];
        return [
          side,
          typeof run === "string" ? run : {
            median: median(values),
            min: Math.min(...values),
            max: Math.max(...values),
            values,
          },
        ];
      }),
    ),
    ratios: ratios.filter((found) => found.title === title).map((
      { title: _, ...found },
    ) => found),
    more: work.more ?? false,
  }));
  writeFileSync(
    flags.json,
    JSON.stringify(
      { date, machine, load, versions, rounds, works: measured, growth },
      null,
      2,
    ) + "\n",
  );
}
if (flags.readme) {
  for (
    const [file, word] of [["README.md", (text: string) => text], [
      "README.zh-CN.md",
      (text: string) => zh[text] ?? text,
    ]] as const
  ) {
    const path = join(root, file);
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    const block = /(<!-- bench -->\n)[\s\S]*?(<!-- \/bench -->)/;
    if (block.test(text)) {
      writeFileSync(
        path,
        text.replace(
          block,
          (_, open, close) => `${open}${table(word)}\n${close}`,
        ),
      );
    } else {console.error(
        `${file} has no <!-- bench --> and <!-- /bench -->: not changed`,
      );}
  }
}
process.exit();
