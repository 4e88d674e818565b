// Config: the settings, and what scripts share: connect, errors, print, stop.
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
// redis://user:password@host:6379/5, or redis+cluster://a:7001,b:7002
const form = /^rediss?(\+cluster)?:\/\/([^\s/?#%]|%[2-7][\da-f])+(\/\d*)?$/i;
export const REDIS_URL = z.string().refine(
  (url) => form.test(url) && URL.canParse(url.replace(/,.*/, "")),
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
  .default(me).describe("who this is, on the board and in CLIENT LIST");

/** What was set, and `args`, the arguments, if `argument` names them for --help.
 * A flag (--redis-url) wins over a variable (REDIS_URL); an empty variable is
 * none. A mistake is a line on stderr and status 2. */
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
  const file = /^rediss?\+/i.test(url) ? "./extras/cluster-client.ts" : "redis";
  const { createClient }: typeof import("redis") = await import(file);
  const rcon = createClient({
    url,
    name,
    RESP: 2, // 3 would send HELLO, which Redis 5 does not know
    disableOfflineQueue: true, // a queue would send after a refused log-in, too
    commandOptions: { timeout: 0 }, // no limit: it costs a timer per command
    maintNotifications: "disabled", // for Redis Enterprise; fails with IPv6
    socket: { connectTimeout: 2000, reconnectStrategy: 300 }, // ms
  });
  const where = `Redis at ${url.replace(/\/\/.*@/, "//")}`; // no password
  let told = 0; // 1: that Redis refuses, 2: that it is away
  rcon.on("error", (err) => {
    if (!wait || advice(err) !== undefined) fail(err, where);
    const trouble = rcon.isReady ? 1 : 2;
    if (trouble > told) complain(`Waiting for ${where}: ${cause(err)}`);
    told = Math.max(told, trouble);
  });
  rcon.on("ready", () => {
    if (told === 2) complain("Redis is there.");
    if (told === 2) told = 0;
  });
  watch(rcon);
  rcon.connect().catch(() => {}); // a failure is an `error`, too
  await new Promise((ready) => rcon.once("ready", ready));
  return rcon;
}
export type Client = Awaited<ReturnType<typeof connect>>;

/** A dead network closes no connection. So after five PINGs without an answer
 * (4 s; two before `ready`) it connects anew. It counts PINGs, not time: after
 * Ctrl-Z and fg the clock has jumped, and the answers lie there unread. */
export function watch(rcon: Client) {
  let unanswered = 0;
  const reset = () => void (unanswered = 0);
  rcon.on("connect", reset).on("error", reset);
  const timer = setInterval(() => {
    if (!rcon.isOpen) return clearInterval(timer); // its owner has ended it
    rcon.ping().then(reset, (err) => err instanceof ErrorReply && reset());
    if (unanswered++ < (rcon.isReady ? 5 : 2)) return;
    renew(rcon);
    rcon.emit("error", Error("no answer"));
  }, 800).unref();
}
/** Connects anew; what is under way fails. */
export async function renew(rcon: Client) {
  rcon.destroy();
  await setImmediate(); // now node-redis has given up its last try
  rcon.connect().catch(() => {});
}
/** For a loop: ends the script on a final error; else null, after 100 ms. */
export async function retry(err: unknown, rcon: Client): Promise<null> {
  const isAnswer = err instanceof ErrorReply || advice(err) !== undefined;
  if (isAnswer) rcon.emit("error", err); // a break is an event already
  // A failover left us at a replica; the address may lead to the new master.
  if (rcon.isReady && /^(READONLY|UNBLOCKED)/.test(cause(err))) renew(rcon);
  await sleep(100);
  return null;
}
/** Ends the script with one line on stderr and status 1. */
export function fail(err: unknown, what = "Redis"): never {
  complain(`Cannot use ${what}: ${cause(err)}${advice(err) ?? ""}`);
  process.exit(1);
}
// What will not pass by itself, and what helps; not: ERR max number of clients.
const final: [RegExp, string][] = [
  [/^ERR unknown c/, ". Is this Redis too old, a Sentinel or a proxy?"],
  [/^MOVED|^ERR SELECT/, ". A cluster? --redis-url redis+cluster://host:port"],
  [/^(ERR (?!max n)|WRONG|NO(AUTH|PERM)|DENIED|CROSSS|this is no)/, ""],
];
const advice = (err: unknown) =>
  final.find(([start]) => start.test(cause(err)))?.[1];
/** An error in a few words. */
export function cause(err: unknown): string {
  const { code, message } = err as NodeJS.ErrnoException;
  // So node-redis says that it cannot read an answer.
  const unread = err instanceof TypeError || /^Unknown RESP/.test(message);
  if (unread) return "this is no Redis; what else has its port?";
  // With two addresses, as localhost may have, the message is empty.
  const isHere = code === "ECONNREFUSED" && /^$|127\.|::1/.test(message);
  if (isHere) return `${code}; npx tsx extras/redis.ts starts one here`;
  // Redis quotes an unknown command with its arguments, perhaps a password.
  return code ?? message.replace(/,? with args beginning with.*/s, "");
}

// 3. Print, and stop.
let lines = ""; // not yet written
let written = Promise.resolve();
/** Prints a line, with the turn's others in one write, and then resolves. */
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
  console.error(visible(line.replace(/\/\/\S*@/g, "//…@")));
/** The word; where it is long or could move the cursor, quoted and cut. */
function visible(word: unknown) {
  const text = String(word);
  // Controls, line ends, paragraph ends, halves of a pair, bidi controls.
  const unsafe = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Bidi_C}]/gu;
  if (text.length <= 1000 && text.search(unsafe) < 0) return text;
  return inspect(text, { maxStringLength: 1000, breakLength: Infinity })
    .replace(unsafe, encodeURIComponent); // which inspect() leaves
}
/** Ctrl-C, SIGTERM and the like abort it, to finish the message in hand first;
 * a second one ends the script. */
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
