// Config: the settings, and what scripts share. 配置：设置，以及共用的函数。

import { readFileSync } from "node:fs";
import { parse } from "node:path";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { inspect, parseArgs, type ParseArgsConfig } from "node:util";
import { ErrorReply } from "redis";
import { z, type ZodType as Rule } from "zod";

// 1. Settings: for each its check, its default (not checked), and what it is.
/** The name of something, a queue for example. */
export const text = z.string()
  .regex(/^\S(.*\S)?$/s, "must not be empty, nor begin or end with a space");
/** A whole number. Its digits are checked first: Number("0x10") is one, too. */
export function whole(min: number, max: number) {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.string().regex(/^\d+$/, error).transform(Number)
    .pipe(z.number().min(min, error).max(max, error));
}
// redis://user:p%40ss@host:6379/5 (database 5; rediss: with TLS), or a cluster:
// redis+cluster://a:7001,b:7002. Of %xx, only %20 to %7f are sure to decode.
const form = /^rediss?(\+cluster)?:\/\/([^\s/?#%]|%[2-7][\da-f])+(\/\d*)?$/i;
// URL takes one host: this drops a cluster's others, `,b:7002` (behind any @).
const oneHost = (url: string) => url.replace(/(?<=\+cluster:.*),[^@]*$/i, "");
export const REDIS_URL = z.string().refine(
  (url) => form.test(url) && URL.canParse(oneHost(url)),
  "must look like redis://localhost:6379/5; %40 is a password's at sign",
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

/** Reads each setting in `shape` from its flag (--redis-url), or else from the
 * variable (REDIS_URL), if it is not empty, or else takes the default. `more`
 * is for parseArgs: { allowPositionals: true } allows words without a flag, and
 * they are `args`. --help prints the header. A mistake: one line, status 2. */
export function settings<S extends Record<string, Rule>>(shape: S, more = {}) {
  const flag = (name: string) =>
    name.replace("MQ_", "").replaceAll("_", "-").toLowerCase();
  const options: ParseArgsConfig["options"] = { help: { type: "boolean" } };
  for (const name in shape) {
    const variable = process.env[name] || undefined;
    options[flag(name)] = { type: "string", default: variable };
  }
  try {
    const { values, positionals } = parseArgs({ ...more, options });
    if (values.help) {
      const script = readFileSync(process.argv[1]!, "utf8");
      const header = script.split(/\n(?!\/\/)/)[0]!; // until a line without //
      console.log(header.replace(/^\/\/ ?/gm, "") + "\n");
      for (const [name, setting] of Object.entries(shape)) {
        console.log(`--${flag(name)} (or ${name}): ${setting.description}`);
        console.log(`    default ${setting.parse(undefined)}`); // none given
      }
      process.exit();
    }
    const given = Object.keys(shape).map((name) => [name, values[flag(name)]]);
    const { data, error } = z.object(shape).safeParse(
      Object.fromEntries(given),
    );
    if (!error) return { ...data, args: positionals };
    for (const { path, message } of error.issues) { // path: [its name]
      complain(`--${flag(`${path}`)} (or ${path}) ${message}; see --help`);
    }
  } catch (err) { // parseArgs throws at a wrong flag
    complain(`${(err as Error).message.replaceAll("\n", " ")}; see --help`);
  }
  process.exit(2);
}

// 2. Redis: https://redis.io/docs/latest/develop/clients/nodejs/
// Errors that waiting does not cure begin so: mistakes (but "ERR max number of
// clients" goes away), WRONGTYPE, WRONGPASS; NOAUTH, NOPERM, DENIED: no right;
// MOVED, CROSSSLOT: a cluster; this is no Redis: from cause().
const final = /^(ERR (?!max num)|WRONG|NO(AUTH|PERM)|DENIED|MOVED|CROSS|this)/;
/** Connects. Where Redis is away, or refuses for good (a wrong password), the
 * script ends with one line. `wait` is for scripts that run on: they wait for a
 * Redis that is away, now and later; meanwhile all commands reject. */
export async function connect(url: string, { wait = false, name = me } = {}) {
  const isCluster = /^rediss?\+/i.test(url); // another client, same functions
  const module = isCluster ? "./extras/cluster-client.ts" : "redis";
  const { createClient }: typeof import("redis") = await import(module);
  const rcon = createClient({
    url,
    name,
    RESP: 2, // the protocol that every Redis speaks; 3 needs Redis 6
    disableOfflineQueue: true, // without a connection a command rejects at once
    commandOptions: { timeout: 0 }, // the default, 5 s, costs a timer a call
    maintNotifications: "disabled", // news for Redis Enterprise; breaks IPv6
    socket: { connectTimeout: 2000, reconnectStrategy: 300 }, // ms
  });
  const told = new Set<string>(); // "away", and what Redis refuses: each once
  rcon.on("error", (err) => {
    if (!wait || final.test(cause(err))) fail(err, `Redis at ${url}`);
    const trouble = err instanceof ErrorReply ? cause(err) : "away";
    if (told.has(trouble)) return;
    complain(`Waiting for Redis at ${url}: ${cause(err)}`);
    told.add(trouble);
  });
  rcon.on("ready", () => { // only "away" is over: a refusal may come again
    if (told.delete("away")) complain("Redis is there.");
  });
  if (!isCluster) watch(rcon); // else cluster-client.ts watches each node
  rcon.connect().catch(() => {}); // errors are told above; renew() may end it
  await new Promise((ready) => rcon.once("ready", ready));
  return rcon;
}
export type Client = Awaited<ReturnType<typeof connect>>;

/** A network that dies says nothing. So this sends a PING every 800 ms, and
 * after five without an answer connects anew. (Five PINGs, not 4 s: time goes
 * on while Ctrl-Z stops us.) A BLPOP keeps PINGs waiting: so it takes 1 s. */
export function watch(rcon: Client) {
  let unanswered = 0;
  const reset = () => void (unanswered = 0);
  // From 0 again when the socket is open, when we are logged in, at a failure.
  rcon.on("connect", reset).on("ready", reset).on("error", reset);
  const timer = setInterval(() => {
    if (!rcon.isOpen) return clearInterval(timer); // destroyed, not renewed
    if (unanswered === 5) return renew(rcon, Error("no answer"));
    unanswered += 1; // in a log-in, too, which may hang as well
    if (rcon.isReady) rcon.ping().then(reset, reset); // errors are answers, too
  }, 800).unref();
}
/** Connects anew, and tells why; what is under way rejects. */
export async function renew(rcon: Client, why: unknown) {
  rcon.destroy();
  rcon.emit("error", why); // connect()'s listener tells it, or ends the script
  await setImmediate(); // until node-redis has given up its own reconnecting
  rcon.connect().catch(() => {});
}
/** For a loop whose command failed: a pause, then null; or the script's end. */
export async function recover(err: unknown, rcon: Client): Promise<null> {
  // If the connection is broken, node-redis makes a new one. If not, Redis has
  // refused, and we make one: if another Redis took over (failover), ours is a
  // mere copy (READONLY, UNBLOCKED), and the address now leads to the other.
  if (rcon.isReady) renew(rcon, err);
  return await sleep(300, null); // ms
}
/** Ends the script with one line on stderr and status 1. */
export function fail(err: unknown, what = "Redis"): never {
  complain(`Cannot use ${what}: ${cause(err)}`);
  process.exit(1);
}
/** An error in a few words, and what may help. */
export function cause(err: unknown): string {
  const { code, message } = err as NodeJS.ErrnoException;
  // node-redis throws these when it cannot read an answer.
  const unread = err instanceof TypeError || /^Unknown RESP/.test(message);
  if (unread) return "this is no Redis; what else has its port?";
  // Where localhost has two addresses, the message is empty (^$).
  const isHere = code === "ECONNREFUSED" && /^$|127\.|::1/.test(message);
  if (isHere) return `${code}; npx tsx extras/redis.ts starts one here`;
  // Redis quotes an unknown command with its arguments, perhaps a password.
  const said = code ?? message.replace(/,? with args beginning with.*/s, "");
  // ERR: too old, a proxy, or a Sentinel, which only watches; else a cluster.
  const odd = /^(MOVED|ERR (unknown|syntax|SELECT .* cluster))/.test(said);
  return odd ? `${said}. Too old, a Sentinel, a proxy, redis+cluster:?` : said;
}

// 3. Print, and stop.
let lines = ""; // not yet written
let written = Promise.resolve(); // resolves when they are written
/** Prints a line. All lines of one turn of the event loop leave in one write,
 * so a burst is twice as fast. Awaited, a slow reader slows us down, too. */
export function print(...words: unknown[]) {
  if (!lines) written = new Promise((done) => process.nextTick(flush, done));
  lines += words.map(visible).join(" ") + "\n";
  return written;
}
function flush(done: () => void) {
  process.stdout.write(lines, (err) => err || done()); // an error ends us
  lines = "";
  const waiting = process.stdout.writableLength; // bytes, in our memory
  if (waiting > 64e6) fail(Error("nobody reads it"), "the output");
}
process.on("exit", () => process.stdout.write(lines)); // no nextTick then
process.stdout.on("error", (err) => {
  if (cause(err) !== "EPIPE") fail(err, "the output"); // EPIPE: `… | head`
  process.exit(1);
});
process.stderr.on("error", () => {}); // nobody reads it: no reason to end
/** Prints a line on stderr, without the user and the password of a URL. */
export const complain = (line: string) =>
  console.error(visible(line.replace(/\/\/.*@/gs, "//")));
/** The word; where it is long or could move the cursor, quoted and cut. */
function visible(word: unknown) {
  const string = String(word);
  // Cc, Cs: control and half characters. Zl, Zp, Bidi_C: separators, direction.
  const unsafe = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_C}]/gu;
  if (string.length <= 1000 && string.search(unsafe) < 0) return string;
  return inspect(string, { maxStringLength: 1000, breakLength: Infinity })
    .replace(unsafe, encodeURIComponent); // inspect() has escaped Cc and Cs
}
/** Aborted by Ctrl-C, SIGTERM, SIGHUP, nodemon's SIGUSR2: to finish what is in
 * hand. The same signal once more ends the script. */
export function stopGently(): AbortSignal {
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2"]) {
    process.on(name, () => {
      stop.abort();
      // npx repeats a Ctrl-C at once; what comes later is a second one.
      setTimeout(() => process.on(name, () => process.exit(130)), 100).unref();
    });
  }
  return stop.signal;
}
