// Config: the settings, and what scripts share. 配置：设置，以及共用的函数。
//
//   Articles:  rcon = redis.StrictRedis(host='localhost', db=5)
//              prodcons_queue = 'task:prodcons:queue'

import { readFileSync } from "node:fs";
import { parse } from "node:path";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { inspect, parseArgs, type ParseArgsConfig } from "node:util";
import { ErrorReply } from "redis";
import { z } from "zod";

// 1. Settings: for each its check, its default, and what it is.
/** The name of something, a queue for example. */
export const text = z.string()
  .regex(/^\S(.*\S)?$/s, "must not be empty, nor begin or end with a space");
/** A whole number. Digits only: Number() would take "", "0x10", "1e3", too. */
export function whole(min: number, max: number) {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.string().regex(/^\d+$/, error).transform(Number)
    .pipe(z.number().min(min, error).max(max, error));
}
// redis://user:p%40ss@host:6379/5, redis+cluster://a:1,b:2; only %20 to %7f
const form = /^rediss?(\+cluster)?:\/\/([^\s/?#%]|%[2-7][\da-f])+(\/\d*)?$/i;
export const REDIS_URL = z.string().refine(
  (url) => form.test(url) && URL.canParse(url.replace(/,[^@]*$/, "")), // 1 host
  "must look like redis://localhost:6379/5; %40 is an @ in a password",
).default("redis://localhost:6379/5").describe("where Redis is");
export const QUEUE = text.default("task:prodcons:queue").describe("the queue");
export const CHANNEL = text.default("task:pubsub:channel").describe("for news");
export const ORDER = z.enum(["lifo", "fifo"], "must be lifo or fifo")
  .default("lifo").describe("newest first, as in the articles; fifo: oldest");
export const WORK_MS = whole(0, 3_600_000).default(0).describe("work, in ms");
export const PORT = whole(0, 65_535).default(3000).describe("0: a free one");
// HOST and NAME are other programs' variables already: hence MQ_.
export const MQ_HOST = text.default("127.0.0.1").describe("the page's address");
const me = `${encodeURI(parse(process.argv[1] ?? "").name)}:${process.pid}`;
export const MQ_NAME = z.string().regex(/^[!-~]+$/, "must be ASCII, no spaces")
  .default(me).describe("who this is in Redis's CLIENT LIST and extras/board");

/** Gives what was set, and `args`, allowed if `argument` names them. A flag
 * (--redis-url) wins over a variable (REDIS_URL); an empty variable is none. A
 * mistake is a line and status 2. --help prints the header of the script. */
export function settings<S extends z.ZodRawShape>(shape: S, argument = "") {
  const schema = z.object(shape);
  const flag = (name: string) =>
    name.replace("MQ_", "").replaceAll("_", "-").toLowerCase();
  const options: ParseArgsConfig["options"] = { help: { type: "boolean" } };
  for (const name in shape) {
    const variable = process.env[name] || undefined;
    options[flag(name)] = { type: "string", default: variable };
  }
  try {
    const allowPositionals = argument !== "";
    const { values, positionals } = parseArgs({ options, allowPositionals });
    if (values.help) {
      const script = readFileSync(process.argv[1]!, "utf8");
      const header = script.split(/\n(?!\/\/)/)[0]!; // until a line without //
      console.log(header.replace(/^\/\/ ?/gm, "") + "\n");
      if (argument) console.log(`Arguments: ${argument}\n`);
      for (const [name, setting] of Object.entries(schema.shape)) {
        console.log(`--${flag(name)} (or ${name}): ${setting.description}`);
        console.log(`    default ${setting.parse(undefined)}`);
      }
      process.exit();
    }
    const given = Object.keys(shape).map((name) => [name, values[flag(name)]]);
    const { data, error } = schema.safeParse(Object.fromEntries(given));
    if (!error) return { ...data, args: positionals };
    for (const { path, message } of error.issues) {
      complain(`--${flag(`${path}`)} (or ${path}) ${message}; see --help`);
    }
  } catch (err) {
    complain(`${(err as Error).message.replaceAll("\n", " ")}; see --help`);
  }
  process.exit(2);
}

// 2. Redis: https://redis.io/docs/latest/develop/clients/nodejs/
/** Connects. Where Redis is away, or refuses for good (a wrong password), the
 * script ends with one line. With `wait`, for scripts that run on, it waits for
 * a Redis that is away, now and later; meanwhile all commands reject. */
export async function connect(url: string, { wait = false, name = me } = {}) {
  const module = /^rediss?\+/i.test(url)
    ? "./extras/cluster-client.ts"
    : "redis";
  const { createClient }: typeof import("redis") = await import(module);
  const rcon = createClient({
    url,
    name,
    RESP: 2, // the protocol's version; 3 needs HELLO, unknown to Redis 5
    disableOfflineQueue: true, // else commands wait, and go even without log-in
    commandOptions: { timeout: 0 }, // off: a limit costs a timer per command
    maintNotifications: "disabled", // for Redis Enterprise; fails on IPv6
    socket: { connectTimeout: 2000, reconnectStrategy: 300 }, // ms
  });
  const where = `Redis at ${url.replace(/\/\/.*@/, "//")}`; // no password
  let told = 0; // the worst we have told: 1, Redis refuses; 2, it is away
  rcon.on("error", (err) => {
    if (!wait || hint(err) !== undefined) fail(err, where); // hint: it's final
    const trouble = rcon.isReady ? 1 : 2; // 1 comes from retry()
    if (trouble > told) complain(`Waiting for ${where}: ${cause(err)}`);
    told = Math.max(told, trouble);
  });
  rcon.on("ready", () => {
    if (told === 2) complain("Redis is there.");
    if (told === 2) told = 0; // 1 stays: a refusal is told once, not per retry
  });
  watch(rcon);
  rcon.connect().catch(() => {}); // on("error") tells; the next line waits
  await new Promise((ready) => rcon.once("ready", ready));
  return rcon;
}
export type Client = Awaited<ReturnType<typeof connect>>;

/** When a network dies, no event tells. So after five PINGs without an answer
 * (4 s; two before `ready`) this connects anew. PINGs are counted, not time:
 * after Ctrl-Z and fg time would have passed. A long BLPOP delays PINGs. */
export function watch(rcon: Client) {
  let unanswered = 0;
  const reset = () => void (unanswered = 0);
  rcon.on("connect", reset).on("error", reset); // a new try counts anew
  const timer = setInterval(() => {
    if (!rcon.isOpen) return clearInterval(timer); // its owner has ended it
    rcon.ping().then(reset, (err) => err instanceof ErrorReply && reset());
    if (unanswered++ < (rcon.isReady ? 5 : 2)) return;
    renew(rcon);
    rcon.emit("error", Error("no answer")); // destroyed: not isReady, so "away"
  }, 800).unref();
}
/** Connects anew; what is under way fails. */
export async function renew(rcon: Client) {
  rcon.destroy();
  await setImmediate(); // node-redis stops its own reconnecting a turn later
  rcon.connect().catch(() => {});
}
/** For a loop: null after 100 ms, to try again; a final error ends us. */
export async function retry(err: unknown, rcon: Client): Promise<null> {
  const untold = err instanceof ErrorReply || hint(err) !== undefined;
  if (untold) rcon.emit("error", err); // a lost connection has done so itself
  // Failover: it is now a read-only copy (UNBLOCKED our BLPOP). Reconnect.
  if (rcon.isReady && /^(READONLY|UNBLOCKED)/.test(cause(err))) renew(rcon);
  await sleep(100);
  return null;
}
/** Ends the script with one line on stderr and status 1. */
export function fail(err: unknown, what = "Redis"): never {
  complain(`Cannot use ${what}: ${cause(err)}${hint(err) ?? ""}`);
  process.exit(1);
}
// How final errors begin (the first match counts), and a hint, or "" for none.
const final: [RegExp, string][] = [
  [/^ERR (unknown|syntax|timeout is)/, ". Redis too old, a Sentinel, a proxy?"],
  [/^MOVED|^ERR SELECT/, ". A cluster? --redis-url redis+cluster://host:port"],
  [/^(ERR (?!max number)|WRONG|NO(AUTH|PERM)|DENIED|CROSSSLOT|this is no)/, ""],
];
const hint = (err: unknown) => final.find(([is]) => is.test(cause(err)))?.[1];
/** An error in a few words. */
export function cause(err: unknown): string {
  const { code, message } = err as NodeJS.ErrnoException;
  // node-redis throws these when it cannot read an answer.
  const unread = err instanceof TypeError || /^Unknown RESP/.test(message);
  if (unread) return "this is no Redis; what else has its port?";
  // Where localhost has two addresses, the message is empty.
  const isHere = code === "ECONNREFUSED" && /^$|127\.|::1/.test(message);
  if (isHere) return `${code}; npx tsx extras/redis.ts starts one here`;
  // Redis quotes an unknown command with its arguments, perhaps a password.
  return code ?? message.replace(/,? with args beginning with.*/s, "");
}

// 3. Print, and stop.
let lines = ""; // not yet written
let written = Promise.resolve();
/** Prints a line, all of one event-loop turn in one write; resolves then. */
export function print(...words: unknown[]): Promise<void> {
  if (!lines) written = new Promise((done) => process.nextTick(flush, done));
  lines += words.map(visible).join(" ") + "\n";
  return written;
}
function flush(done: () => void) {
  process.stdout.write(lines, (err) => err || done());
  lines = "";
  if (process.stdout.writableLength > 64e6) fail(Error("unread"), "the output");
}
process.on("exit", () => process.stdout.write(lines));
process.stdout.on("error", (err) => {
  if (cause(err) !== "EPIPE") fail(err, "the output"); // EPIPE: `… | head`
  process.exit(1);
});
process.stderr.on("error", () => {}); // nobody reads it: no reason to end
/** Prints a line on stderr, without the user and the password of a URL. */
export const complain = (line: string) =>
  console.error(visible(line.replace(/\/\/.*@/gs, "//…@")));
/** The word; where it is long or could move the cursor, quoted and cut. */
function visible(word: unknown) {
  const text = String(word);
  // Control characters, line and paragraph ends, lone surrogates, bidi marks.
  const unsafe = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Bidi_C}]/gu;
  if (text.length <= 1000 && text.search(unsafe) < 0) return text;
  return inspect(text, { maxStringLength: 1000, breakLength: Infinity })
    .replace(unsafe, encodeURIComponent); // inspect() leaves some
}
/** Aborted by Ctrl-C, SIGTERM, SIGHUP, nodemon's SIGUSR2: to finish what is in
 * hand. The same signal once more ends the script. */
export function stopGently(): AbortSignal {
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2"]) {
    process.on(name, () => {
      stop.abort();
      // npx repeats a Ctrl-C at once; that is not a second one.
      setTimeout(() => process.on(name, () => process.exit(130)), 100).unref();
    });
  }
  return stop.signal;
}
