// Config: every setting of the scripts in one schema, connect(), and what the scripts share.
//
//   articles:  rcon = redis.StrictRedis(host='localhost', db=5); prodcons_queue = …; pubsub_channel = …
//   run:       nothing to run here; each script imports from it

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { z } from "zod";

// tsx has source maps on: 600 files more to read for redis at each start, an eighth of it. Off while redis is loaded.
process.setSourceMapsEnabled(false);
const { createClient, ErrorReply } = await import("redis");
process.setSourceMapsEnabled(true);

const text = z.string().min(1, "must not be empty");
const whole = (min: number, max: number) =>
  z.string()
    .refine(
      (t) => /^\d{1,9}$/.test(t) && +t >= min && +t <= max,
      `must be a whole number from ${min} to ${max}`,
    )
    .transform(Number);
const redisUrl = z.string().refine(
  (t) => {
    try {
      const { protocol, hostname, pathname, username, password, search, hash } =
        new URL(t);
      decodeURIComponent(username + password); // throws where a % stands for itself
      return /^rediss?:$/.test(protocol) && hostname &&
        /^(\/\d*)?$/.test(pathname) && !search && !hash;
    } catch {
      return false;
    }
  },
  "must look like redis://localhost:6379/5 or rediss://user:password@host:6379/0, special characters of a password %-encoded",
);

/** The one place where a setting, its check, its default and its description stand. */
export const schema = z.object({
  REDIS_URL: redisUrl.default("redis://localhost:6379/5").describe(
    "where Redis is (article 1 uses db 5, article 2 db 1)",
  ),
  QUEUE: text.default("task:prodcons:queue").describe(
    "the list that producers push onto and consumers pop off",
  ),
  ORDER: z.enum(["lifo", "fifo"], "must be lifo or fifo").default("lifo")
    .describe(
      "of a backlog, take the newest message first (lifo, as in the articles) or the oldest (fifo)",
    ),
  WORK_MS: whole(0, 3_600_000).default(0).describe(
    "how long the work on one message takes, in ms",
  ),
  LEASE_MS: whole(1000, 3_600_000).default(10_000).describe(
    "how soon a running reliable consumer takes up what a dead one had in hand, in ms",
  ),
  BATCH: whole(1, 10_000).default(64).describe(
    "how many messages to take at most in one round trip",
  ),
  CHANNEL: text.default("task:pubsub:channel").describe(
    "the channel that publishers and subscribers share",
  ),
  HOST: text.default("127.0.0.1").describe(
    "the address that the page is served at",
  ),
  PORT: whole(0, 65535).default(3000).describe(
    "the port that the page is served at; 0 picks a free one",
  ),
});
type Settings = z.output<typeof schema>;

/**
 * Reads the settings that a script uses: a flag (--redis-url) wins over a variable (REDIS_URL), an empty variable counts as unset.
 * --help prints the script's header and its settings and ends it. Each bad value is one line on stderr, the status is 2.
 * @param script the script's import.meta.url
 * @param names the settings that it uses
 * @param argument what its arguments are called in --help; without it the script takes none
 * @returns the settings by name, and `args`, the arguments
 */
export function settings<K extends keyof Settings>(
  script: string,
  names: K[],
  argument = "",
): Pick<Settings, K> & { args: string[] } {
  const flag = (name: string) => name.toLowerCase().replace("_", "-");
  const options = Object.fromEntries(
    names.map((name) => [flag(name), { type: "string" as const }]),
  );
  const { tokens, values, positionals } = parseArgs({
    options: { ...options, help: { type: "boolean", short: "h" } },
    strict: false,
    allowPositionals: true,
    tokens: true,
  });

  if (values.help) {
    const header = readFileSync(new URL(script), "utf8").split("\n\n")[0]
      ?.replace(/^\/\/ ?/gm, "");
    console.log(
      `${header}\n\nUsage: npx tsx ${
        script.match(/(extras\/)?[^/]*$/)?.[0]
      } [flags] ${argument}\n`,
    );
    for (const name of names) {
      console.log(
        `  --${flag(name)} (or ${name})\n      ${
          schema.shape[name].description
        }; default ${schema.shape[name].parse(undefined)}`,
      );
    }
    process.exit(0);
  }

  // A value is never printed, and of an unknown flag only its name: it may hold a password.
  const problems = new Set<string>();
  for (const token of tokens) {
    if (token.kind !== "option" || token.name === "help") continue;
    if (!Object.hasOwn(options, token.name)) {
      problems.add(
        `${
          token.rawName.match(/^-+[\w-]*/)?.[0]
        }: unknown flag, see --help; an argument that starts with a dash goes behind --`,
      );
    } else if (!token.value) problems.add(`--${token.name}: must not be empty`);
  }
  if (positionals.length && !argument) {
    problems.add("arguments: this script takes none, only flags, see --help");
  }
  const found = names.map((name) => {
    const given = values[flag(name)];
    const { data, error } = schema.shape[name].safeParse(
      given || process.env[name] || undefined,
    );
    for (const issue of error?.issues ?? []) {
      problems.add(`${given ? "--" + flag(name) : name}: ${issue.message}`);
    }
    return [name, data];
  });
  for (const problem of problems) console.error(problem);
  if (problems.size) process.exit(2);
  return { ...Object.fromEntries(found), args: positionals };
}

/** Set by the first SIGINT (Ctrl-C), SIGTERM or SIGHUP (its terminal was closed): finish what is in hand, then end. */
const stopping = new AbortController();
export const stop = stopping.signal;
let stoppedAt = 0;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    // A second one ends the script at once. Within 100 ms it is the same Ctrl-C, which npx or a runner passed on once more.
    if (stop.aborted && Date.now() - stoppedAt > 100) process.exit(130);
    stoppedAt ||= Date.now();
    stopping.abort();
  });
}

let lines = "";
let written: Promise<void> | undefined;
/**
 * Prints one line. Lines printed in one go, as a burst of messages is, leave in one write.
 * A message can hold anything: what could move the cursor or fake a line is printed visibly, a line break as \n, an escape as \u001b.
 * @returns when it is written
 */
export function print(line: string): Promise<void> {
  lines += visible(line) + "\n";
  return written ??= write();
}
async function write() {
  await null; // the rest of the burst, for which the caller does not wait, comes first
  const chunk = lines;
  lines = "";
  written = undefined;
  await new Promise((done) => process.stdout.write(chunk, done));
}
process.stdout.on("error", () => process.exit(1)); // nobody reads any more (`… | head`): take no further message

const unsafe = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/u; // control characters, line separators, bidi overrides
const named: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
const visible = (line: string) =>
  !unsafe.test(line)
    ? line
    : line.replace(new RegExp(unsafe, "gu"), (c) =>
      named[c] ?? "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));

/** Prints one line on stderr, as print() does on stdout. */
export const complain = (line: string) => console.error(visible(line));

let where = ""; // REDIS_URL without user and password
let waiting = false; // said once, also when a script has two clients

/**
 * Makes a Redis client, https://redis.io/docs/latest/develop/clients/nodejs/. It connects by itself, and again after a break; while it
 * is not connected, its commands are rejected. What Redis refuses (a wrong password, a db that does not exist) ends the script with one line and status 1.
 * @param url the setting REDIS_URL
 * @param wait true: wait for Redis, at the start and when it goes away; false: end the script when there is none
 * @param options more of node-redis's own options
 */
export function client(
  url: string,
  wait: boolean,
  options: Parameters<typeof createClient>[0] = {},
) {
  const { protocol, host, pathname } = new URL(url);
  where = `${protocol}//${host}${pathname}`;
  const away = (err: unknown) => {
    if (stop.aborted) return rcon.destroy(); // no use to wait any longer: what waits for Redis is rejected
    if (!wait || refused(err)) fail(err);
    if (!waiting) {
      complain(
        `Waiting for Redis at ${where} (${
          cause(err)
        }). None on this machine? Start one: npx tsx extras/redis.ts`,
      );
    }
    waiting = true;
  };
  const rcon = createClient({
    ...options,
    url,
    commandOptions: { timeout: 0 }, // node-redis's own 5 s would end a blocking command, and cost each one a timer
    maintNotifications: "disabled", // of Redis Enterprise only, and its preparation fails with an IPv6 address
    disableOfflineQueue: true, // a command kept for later would travel with the log-in, and run even if that or the db is refused
    socket: { reconnectStrategy: () => 200 + Math.random() * 300 }, // ms; jitter, so that a crowd does not return at once
  });
  const noAnswer = setTimeout(away, 1500, new Error("no answer"));
  rcon.on("error", away);
  rcon.on("ready", () => {
    clearTimeout(noAnswer);
    if (waiting) complain("Redis is there.");
    waiting = false;
  });
  stop.addEventListener("abort", () => {
    if (!wait) process.exit(130);
    if (!rcon.isReady) return rcon.destroy();
    const hangs = setTimeout(() => rcon.destroy(), 1000); // a Redis that does not answer must not hold the script
    rcon.ping().then(() => clearTimeout(hangs), () => {});
  });
  rcon.connect().catch(() => {}); // `error` has said it already
  return rcon;
}

/** The same, when Redis is there; Ctrl-C before that ends the script. */
export async function connect(...args: Parameters<typeof client>) {
  const rcon = client(...args);
  const leave = () => process.exit();
  stop.addEventListener("abort", leave);
  await new Promise((ready) => rcon.once("ready", ready));
  stop.removeEventListener("abort", leave);
  return rcon;
}

/** The name under which a consumer connects: by it the page counts the consumers of a queue, and CLIENT LIST shows them. */
export const atQueue = (queue: string) => ({
  name: `consumer@${encodeURIComponent(queue)}`,
});

/** Ends the script with status 1 and one line on stderr: what Redis refused, or that it can't be reached. */
export function fail(err: unknown): never {
  const mend = /^WRONGTYPE/.test(cause(err))
    ? "--queue"
    : /^(OOM|MISCONF)/.test(cause(err))
    ? "its memory and disk"
    : "--redis-url";
  complain(
    refused(err)
      ? `Redis at ${where} says: ${cause(err)}. Check ${mend}.`
      : err instanceof ErrorReply
      ? `Redis at ${where} says: ${cause(err)}. Try again later.`
      : `Cannot reach Redis at ${where} (${
        cause(err)
      }). Is it running? Start one: npx tsx extras/redis.ts`,
  );
  process.exit(1);
}

/** For a loop's command: a connection that broke, or a Redis that is still loading, gives null, to go on; what Redis refuses ends the script. */
export async function retry(err: unknown): Promise<null> {
  if (refused(err)) fail(err);
  if (err instanceof TypeError) throw err; // a mistake of ours does not go away
  if (!stop.aborted) await sleep(100);
  return null;
}

const temporary =
  /^(LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|ERR max number of clients)/;
/** Whether Redis itself answered no, and will again: https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors */
export const refused = (err: unknown) =>
  err instanceof ErrorReply && !temporary.test(err.message);

/** An error in a few words: some of node-redis's and Node's have no message, only a code or a name. */
export function cause(err: any): string {
  if (err instanceof TypeError) {
    return "an answer that nobody asked for; max number of clients reached?"; // node-redis stumbles over it
  }
  return err.errors?.[0]?.code ?? err.code ??
    (err.message.replace(/\.$/, "") || err.name);
}
