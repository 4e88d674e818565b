// Config: all settings in one schema, and the functions that scripts share, in
// this order: settings, connect to Redis, errors, print, stop.
//
//   Articles:  rcon = redis.StrictRedis(host='localhost', db=5)
//              prodcons_queue = 'task:prodcons:queue'

import { readFileSync } from "node:fs";
import { unescape } from "node:querystring";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs, type ParseArgsConfig } from "node:util";
import { ErrorReply } from "redis";
import { z } from "zod";

// 1. Settings.

const filled = z.string().min(1, "must not be empty");
// Digits only: by itself, Number() would take "", "0x10" and "1e3", too.
const whole = (min: number, max: number) =>
  z.string().refine(
    (digits) => /^\d+$/.test(digits) && +digits >= min && +digits <= max,
    `must be a whole number from ${min} to ${max}`,
  ).transform(Number);
// redis://user:password@host:6379/5: after // anything but / ? # and space, of
// %xx only valid ones; then perhaps the number of a database.
// redis+cluster://a:7001,b:7002 has several hosts, and no database.
const one = /^rediss?:\/\/([^/?#%\s]|%[\da-f]{2})+(\/\d*)?$/i;
const cluster = /^rediss?\+cluster:\/\/([^/?#%\s]|%[\da-f]{2})+$/i;
// node-redis throws for %xx that are no UTF-8; unescape makes \ufffd of them.
const isAddress = (url: string) =>
  (cluster.test(url) || (one.test(url) && URL.canParse(url))) &&
  !unescape(url).includes("\ufffd");
const address = z.string().refine(
  isAddress,
  "must look like redis://localhost:6379/5, or rediss: for TLS; special " +
    "characters of a password are %-encoded",
);

/** Each setting: its check, its default, and what it is. */
export const schema = z.object({
  REDIS_URL: address.default("redis://localhost:6379/5")
    .describe("where Redis is; article 1 uses db 5, article 2 db 1"),
  QUEUE: filled.default("task:prodcons:queue").describe("the list of messages"),
  ORDER: z.enum(["lifo", "fifo"], "must be lifo or fifo").default("lifo")
    .describe("lifo: the newest first, as in the articles; fifo: the oldest"),
  WORK_MS: whole(0, 3_600_000).default(0).describe("work on a message, in ms"),
  CHANNEL: filled.default("task:pubsub:channel").describe("where to publish"),
  HOST: filled.default("127.0.0.1").describe("the address of the page"),
  PORT: whole(0, 65535).default(3000).describe("its port; 0 picks a free one"),
  // The rest is for extras/ only: skip it at first.
  LEASE_MS: whole(1000, 3_600_000).default(10_000)
    .describe("when another takes up what a crashed one had in hand, in ms"),
  BATCH: whole(1, 10_000).default(64).describe("messages a round trip at most"),
  WAIT_MS: whole(1, 3_600_000).default(5000).describe("for an answer, in ms"),
  STREAM: filled.default("task:stream").describe("the stream of messages"),
  GROUP: filled.default("workers").describe("each group gets all messages"),
  FROM: z.enum(["first", "new"], "must be first or new").default("first")
    .describe("where a group begins that did not exist"),
  TRIES: whole(1, 1000).default(3).describe("tries until it is a dead letter"),
});
type Settings = z.output<typeof schema>;

/**
 * The settings that a script names, and `args`, its arguments; `argument` is
 * the word for them in --help, and without it there may be none. A flag
 * (--redis-url) wins over a variable (REDIS_URL); an empty variable counts as
 * unset. A mistake is a line on stderr and status 2.
 */
export function settings<Name extends keyof Settings>(
  names: Name[],
  argument = "",
): Pick<Settings, Name> & { args: string[] } {
  const flag = (name: string) => name.toLowerCase().replaceAll("_", "-");
  const options: NonNullable<ParseArgsConfig["options"]> = {
    help: { type: "boolean", short: "h" },
  };
  for (const name of names) {
    const variable = process.env[name] || undefined;
    options[flag(name)] = { type: "string", default: variable };
  }
  try {
    const config = { options, allowPositionals: true };
    const { values, positionals: args } = parseArgs(config);
    if (values.help) {
      // The header of the script that was started, without its slashes.
      const lines = readFileSync(process.argv[1]!, "utf8").split(/\r?\n/);
      const header = lines.slice(0, lines.indexOf(""));
      console.log(header.map((line) => line.slice(3)).join("\n"));
      if (argument) console.log(`\nArguments: ${argument}`);
      console.log("\nFlags, or variables:");
      for (const name of names) {
        const setting = schema.shape[name];
        console.log(`  --${flag(name)} (or ${name}): ${setting.description}`);
        console.log(`      default ${setting.parse(undefined)}`);
      }
      process.exit(0);
    }
    if (args.length > 0 && !argument) throw new Error("It takes no arguments");
    const given = names.map((name) => [name, values[flag(name)]]);
    const { data, error } = schema.safeParse(Object.fromEntries(given));
    if (data) return { ...data as Pick<Settings, Name>, args };
    for (const { path, message } of error.issues) {
      const name = path.join();
      complain(`--${flag(name)} (or ${name}) ${message}; see --help`);
    }
  } catch (err) {
    complain(`${(err as Error).message.replaceAll("\n", " ")}; see --help`);
  }
  process.exit(2);
}

// 2. Redis.

let shownUrl = ""; // REDIS_URL without user and password, for error lines
let away = false; // whether we have said that we wait
const clients: Client[] = []; // one for each connect()

/**
 * Connects to Redis. When Redis is away, or refuses for good (a wrong password,
 * for example), the script ends with one line. With `wait: true` it waits for
 * a Redis that is away, now and later; that is for scripts that run on.
 * @returns a client, https://redis.io/docs/latest/develop/clients/nodejs/; its
 *   commands reject while Redis is away, and when the connection breaks
 */
export async function connect(url: string, { wait = false } = {}) {
  shownUrl = url.replace(/\/\/.*@/, "//");
  // The cluster's client offers the same, as far as we use it.
  const redis = await import(
    cluster.test(url) ? "./extras/cluster-client.ts" : "redis"
  ) as typeof import("redis");
  const rcon = redis.createClient({
    url,
    disableOfflineQueue: true, // a queue would send after a refused log-in, too
    commandOptions: { timeout: 0 }, // no limit: it costs a timer per command
    maintNotifications: "disabled", // for Redis Enterprise; fails with IPv6
    // In ms. connectTimeout: less than the 3 × 500 of watch().
    socket: { connectTimeout: 1400, reconnectStrategy: 300 },
  });
  rcon.on("error", (err) => {
    // An error while ready: the connection holds, but that is no Redis's reply.
    if (!wait || rcon.isReady || isFinal(err)) fail(err);
    if (!away) complain(`Waiting for ${redisAt(err)}`);
    away = true;
  });
  rcon.on("ready", () => {
    if (!away || clients.some((client) => !client.isReady)) return;
    complain("Redis is there.");
    away = false;
  });
  watch(rcon);
  open(rcon); // not awaited: watch() may try anew, and so may node-redis
  await new Promise((ready) => rcon.once("ready", ready));
  return rcon;
}
type Client = Awaited<ReturnType<typeof connect>>;

// A failure also comes as an event, `error` above.
const open = (rcon: Client) => rcon.connect().catch(() => {});
function renew(rcon: Client) {
  rcon.destroy();
  // A pause: destroy() cannot cancel a connection that is just being opened.
  setTimeout(() => open(rcon), 500);
}
const renewAll = () => clients.filter((rcon) => rcon.isReady).forEach(renew);

/**
 * A dead network closes no connection. So we ask: after 8 looks without an
 * answer (4 s), or 3 while connecting, we connect anew. We count looks, not ms:
 * after Ctrl-Z and fg the clock has jumped, and the answers lie there unread.
 */
function watch(rcon: Client) {
  clients.push(rcon);
  let silent = 0; // looks without an answer
  const heard = () => void (silent = 0);
  rcon.on("connect", heard).on("reconnecting", heard).on("error", heard);
  let bytes = 0; // that have come in
  setInterval(() => {
    const patience = rcon.isReady ? 8 : 3;
    if (rcon.isOpen && silent++ >= patience) {
      renew(rcon);
      renewAll(); // the others would notice it a moment later
      rcon.emit("error", new Error("no answer"));
    }
    // The answer may be behind a long message on a slow network, and connecting
    // anew would lose that. So 10 kB since the last look are an answer, too.
    const before = bytes;
    bytes = received();
    if (bytes > before + 10_000) heard();
    // Any answer will do, also that this user may not PING.
    rcon.ping().then(heard, (err) => err instanceof ErrorReply && heard());
  }, 500).unref();
}

/** Bytes that have come in, but for those of the page's visitors (.server). */
function received() {
  let sum = 0; // Node has only a private way to ask, Deno none
  const all = Reflect.get(process, "_getActiveHandles")?.call(process) ?? [];
  for (const { server, bytesRead = 0 } of all) if (!server) sum += bytesRead;
  return sum;
}

// 3. Errors.

/** Ends the script with one line on stderr and status 1. */
export function fail(err: unknown): never {
  if (err instanceof ErrorReply) complain(refusal(err));
  else complain(`Cannot reach ${redisAt(err)}`);
  process.exit(1);
}
const refusal = (err: unknown) => `Redis at ${shownUrl} says: ${cause(err)}`;
const redisAt = (err: unknown) =>
  `Redis at ${shownUrl} (${cause(err)}). None on this machine? Start one: ` +
  `npx tsx extras/${cluster.test(shownUrl) ? "cluster" : "redis"}.ts` +
  (shownUrl === "redis://localhost:6379/5" ? "" : ` --redis-url ${shownUrl}`);

let quiet = 0; // a refusal before this moment (ms) is not worth a new line
/**
 * For a loop: a final refusal or an unreadable reply ends the script. After any
 * other error it waits 100 ms and gives null; connect() says if Redis is away.
 */
export async function retry(err: unknown): Promise<null> {
  if (isFinal(err) || err instanceof TypeError) fail(err);
  if (err instanceof ErrorReply) {
    const now = performance.now();
    if (now > quiet) complain(`${refusal(err)}; trying again`);
    quiet = now + 5000;
    leaveReplica(err);
  }
  await sleep(100);
  return null;
}

/**
 * Connects anew when a failover has made our Redis a replica, which takes no
 * messages: the same address may lead to the new master now.
 */
export function leaveReplica(err: unknown) {
  if (/^(READONLY|UNBLOCKED)/.test(cause(err))) renewAll();
}

// How Redis's temporary refusals begin. All others are final.
const temporary = "LOADING,BUSY,MASTERDOWN,CLUSTERDOWN,TRYAGAIN,READONLY," +
  "UNBLOCKED,NOREPLICAS,OOM,MISCONF,ERR max number of clients";
const isFinal = (err: unknown) =>
  err instanceof ErrorReply &&
  !temporary.split(",").some((no) => err.message.startsWith(`${no} `));

/** An error in a few words. */
export function cause(err: unknown): string {
  // node-redis throws it for a reply it cannot read, also when Redis is full.
  if (err instanceof TypeError) return "not an answer of Redis; is it full?";
  const { code, message } = err as NodeJS.ErrnoException;
  // Redis quotes an unknown command with its arguments, perhaps a password.
  return code ?? message.replace(/,? with args beginning with.*/s, "");
}

// 4. Print.

let lines = ""; // not yet written: a turn's first print() schedules flush()
let written = Promise.resolve();
/**
 * Prints words as one line, whatever is in them: long ones are cut, what moves
 * the cursor is escaped. Lines of one turn leave in one write.
 * @returns when it is written
 */
export function print(...words: unknown[]): Promise<void> {
  if (!lines) written = new Promise((done) => process.nextTick(flush, done));
  lines += words.map(visible).join(" ") + "\n";
  return written;
}
function flush(done: () => void) {
  process.stdout.write(lines, (err) => err || done());
  lines = "";
}

// Nobody reads any more (`… | head`): end, and take no further message.
process.stdout.on("error", () => process.exit(1));

/** Prints a line on stderr, without the user and the password of a URL. */
export const complain = (line: string) =>
  console.error(visible(line.replace(/\/\/\S*@/g, "//…@")));

function visible(word: unknown) {
  let text = String(word);
  if (/^[ -~]{0,1000}$/.test(text)) return text; // short ASCII, as most is
  if (text.length > 1000) {
    const length = text.length.toLocaleString("en");
    text = `${text.slice(0, 1000)}… (${length} characters)`;
  }
  // Controls, line ends, paragraph ends, halves of a pair, bidi controls.
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Bidi_C}]/gu, (c) => {
    if (c === "\n") return "\\n";
    return "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0");
  });
}

// 5. Stop.

/**
 * For scripts that take messages, to finish the one in hand: the first Ctrl-C
 * (SIGINT), SIGTERM or SIGHUP (its terminal was closed) aborts the returned
 * signal, a second one ends the script.
 */
export function stopGently(): AbortSignal {
  const stop = new AbortController();
  let first = 0; // when it came, in ms
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(name, () => {
      first ||= Date.now();
      // Within 100 ms it is the same one: npx repeats a Ctrl-C.
      if (Date.now() > first + 100) process.exit(130);
      stop.abort();
    });
  }
  return stop.signal;
}
