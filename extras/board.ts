// Board: server.ts with a live picture of both models in place of its page.
//
//   Redis:    what the links send, and what looks on: MONITOR, CLIENT LIST,
//             LLEN, LRANGE    https://redis.io/docs/latest/commands/monitor/
//   Run:      npx tsx extras/board.ts    then open the address that it prints
//   Partner:  every other script, npm start, and the articles' own Python
//   Delivery: it shows what Redis says, ten times a second, and who took a
//             message where the order in which Redis serves leaves no doubt.
//   Simplified: no streams; and it does not listen to thousands of commands a
//             second: MONITOR would cost Redis half of its speed.

import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { networkInterfaces } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import * as mq from "../config.ts";

const { MQ_HOST, PORT } = mq;
const shape = { REDIS_URL: mq.REDIS_URL, QUEUE: mq.QUEUE, CHANNEL: mq.CHANNEL };
const { REDIS_URL, QUEUE, CHANNEL } = mq.settings({ ...shape, MQ_HOST, PORT });
if (/^rediss?\+/i.test(REDIS_URL)) {
  mq.complain("--redis-url: the board draws one Redis, not a cluster");
  process.exit(2);
}
const rcon = await mq.connect(REDIS_URL, { wait: true });
const db = REDIS_URL.match(/\/\/.*\/(\d+)$/)?.[1] ?? "0"; // behind the host

// 1. The page. Only its own script and style, with its nonce, may run in it.
const url = REDIS_URL.replace(/\/\/.*@/, "//…@");
const html = readFileSync(new URL("board.html", import.meta.url), "utf8");
function index(res: ServerResponse) {
  const chosen = res.req.url?.match(/lang=(zh|en)/)?.[1];
  const lang = chosen ?? res.req.headers["accept-language"] ?? "";
  const page = html.replace("LANG", lang.startsWith("zh") ? "zh-CN" : "en");
  res.setHeader("Content-Type", "text/html; charset=utf-8");
  res.end(page.replaceAll("NONCE", randomUUID()));
}

// 2. A look at Redis. Of long messages only the beginning leaves Redis: the
// script that cuts them runs there. It also finds who holds what, reliably.
const script = `local queue, hands = KEYS[1], {}
  local function texts(key, from, to)
    local all = redis.call("LRANGE", key, from, to)
    for i = 1, #all do all[i] = string.sub(all[i], 1, 160) end
    return all
  end
  for _, id in ipairs(redis.pcall("ZREVRANGE", queue .. ":takers", 0, 99)) do
    local list = queue .. ":inhand:" .. id
    local alive, has = redis.call("EXISTS", list .. ":lease"), texts(list, 0, 4)
    if alive + #has > 0 then hands[#hands + 1] = { id, alive, has } end
  end
  return { redis.call("LLEN", queue), texts(queue, 0, 29),
    texts(queue, -30, -1), hands, redis.call("PUBSUB", "NUMSUB", ARGV[1])[2] }`;
const key = randomUUID();
let looks = 0; // MONITOR repeats the key and the number of each

async function look() {
  const [list, found] = await Promise.all([ // together: one moment
    rcon.clientList().catch(() => null), // not allowed
    rcon.eval(script, { keys: [QUEUE], arguments: [CHANNEL, key + ++looks] }),
  ]);
  // MONITOR tells of the look, too, perhaps a moment later.
  for (let i = 0; i < 50 && monitor && !heard; i++) await sleep(5);
  const [length, left, right, hands, subscribers] = found as unknown[];
  const state = { looks, length, left, right, hands, subscribers };
  if (!list) return state;
  const consumers = list.flatMap(({ id, name, cmd, flags, ...one }) => {
    const who = one.addr || `fd=${one.fd}`; // as MONITOR has it
    const old = known.get(who) ?? {}; // or of another one, now gone
    const { takes, took, multi }: Client = (old.id ?? id) === id ? old : {};
    known.set(who, { takes, took, multi, id, name, seen: looks });
    // Who has waited for longer than we listen may do so elsewhere: no name.
    const may = takes === undefined && `${one.db}` === db && takers.test(cmd);
    const more = { takes, waits: flags.includes("b") };
    return took || may ? { who, id, name: takes ? name : "", ...more } : [];
  });
  for (const [who, one] of known) if (one.seen! < looks - 1) known.delete(who);
  const direct = list.filter(({ sub }) => sub > 0).map(({ name }) => name);
  // As many as listen to the channel: it is they. Else others listen, too.
  const hearers = direct.length === subscribers ? direct.sort() : [];
  const patterns = list.filter(({ psub }) => psub > 0).length;
  return { ...state, consumers, hearers, patterns };
}

// 3. The commands as they come in, while a page is open. Only what concerns
// this queue and this channel leaves the server.
type Flags = Partial<Record<"takes" | "took" | "multi", boolean>>;
type Client = Flags & { name?: string; id?: number; seen?: number };
const known = new Map<string, Client>(); // by address
const inhand = `${QUEUE}:inhand:`; // lists and leases of the reliable ones
const takers = /^(b[lr]pop|blmove|brpoplpush|blmpop)$/;
let commands: object[] = [];
let heard: { at: number; heard: object[] } | undefined; // up to the look
let monitor: { destroy(): void } | undefined;
// Words since the last look; looks to come without MONITOR; why without it.
let [count, pause, refused] = [0, 0, ""];
let [unit, last, mine] = [0, "", false]; // of the last command

/** MONITOR writes the bytes of a word as \xe4, \n, \" and so on. */
function plain(word: string) {
  const marks = new Map([["n", "\n"], ["r", "\r"], ["t", "\t"]]);
  const byte = (_: string, mark: string, hex?: string) =>
    hex ? String.fromCharCode(parseInt(hex, 16)) : marks.get(mark) ?? mark;
  const text = word.slice(0, 640).replace(/\\(x(..)|.)/g, byte);
  return Buffer.from(text, "latin1").subarray(0, 160).toString();
}
/** The words of a command that are keys, or channels. */
function keys(name: string, words: string[]) {
  if (/^b[lr]pop$/.test(name)) return words.slice(1, -1);
  if (/move$|poplpush$|^rename/.test(name)) return words.slice(1, 3);
  if (/^(blmpop|eval|fcall)/.test(name)) return words.slice(3, 3 + +words[2]!);
  return words.slice(1, /subscribe$|^del$|^unlink$/.test(name) ? undefined : 2);
}

// A line: 1700000000.123 [5 127.0.0.1:1234] "LPUSH" "queue" "a \"quote\""
function hear(line: unknown) {
  const parts = String(line).match(/^(\S+) \[(\d+) (.*?)\] "(.*)"$/s);
  if (!parts) return;
  const [, time, base, who = "", rest = ""] = parts;
  const raw = rest.split('" "'); // a quote in a word has a \ before it
  if ((count += raw.length) > 1000) return;
  const at = Number(time) * 1000;
  const isLook = raw.at(-1) === key + looks;
  if (isLook) [heard, commands] = [{ at, heard: commands }, []];
  mine = isLook || mine && who === "lua"; // our script's own steps
  if (mine) return;
  const words = raw.map(plain);
  const name = words[0]!.toLowerCase();
  const one: Client = { ...known.get(who), seen: looks };
  known.set(who, one);
  // Who waits is served after each command, but after a whole MULTI or script.
  if (who !== "lua" && !(one.multi && who === last)) unit++;
  if (who !== "lua") last = who;
  if (/^(multi|exec|discard)$/.test(name)) one.multi = name === "multi";
  if (/^client setname ./i.test(words.join(" "))) one.name = words[2]!;

  const all = keys(name, words);
  const news = /^publish$|subscribe$/.test(name) && all.includes(CHANNEL);
  const ours = base === db &&
    all.some((key) => key === QUEUE || key.startsWith(inhand));
  // Of who took here also that it did something; a PING goes by itself.
  const told = news || ours ? words : one.took && name !== "ping" && [""];
  if (told) commands.push({ unit, at, who, name: one.name, words: told });
  if (!takers.test(name)) return;
  one.takes = ours && all.includes(QUEUE);
  one.took ||= one.takes;
}

async function listen() {
  if (monitor || refused || --pause > 0) return;
  const fresh = monitor = rcon.duplicate();
  fresh.on("error", () => {}); // the next look says it
  await fresh.connect().then(() => fresh.monitor(hear))
    .catch((err) => deafen(0, rcon.isReady ? mq.cause(err) : ""));
}
function deafen(looks = 0, why = "") {
  monitor?.destroy();
  [monitor, pause, refused] = [undefined, looks, why];
  known.clear(); // meanwhile they may go elsewhere
}

// 4. Open pages hear of it: one look for all of them, and none without.
const pages = new Set<ServerResponse>();
let looking: Promise<void> | undefined;
function live(res: ServerResponse) {
  res.setHeader("Content-Type", "text/event-stream").flushHeaders();
  pages.add(res);
  // An answer behind another one, on the same connection, has no end itself.
  res.req.socket.on("close", () => pages.delete(res));
  looking ??= show();
}
async function show() {
  while (pages.size > 0) {
    await Promise.race([listen(), sleep(500)]); // no longer if Redis is away
    const state = await look().catch((err) => ({ away: mq.cause(err) }));
    const told = count > 1000 ? void deafen(10) : heard; // it is a flood
    const data = { ...state, ...told, refused, url, QUEUE, CHANNEL };
    [count, heard, commands] = [0, undefined, commands.slice(-1000)];
    const event = `data: ${JSON.stringify(data)}\n\n`;
    for (const page of pages) if (!page.writableNeedDrain) page.write(event);
    await sleep(100); // ms
  }
  looking = undefined;
  deafen();
}

// 5. The server comes last: from its first moment it has the picture.
const { routes, server } = await import("../server.ts");
routes.set("/", index);
routes.set("/live", live);
if (!server.listening) await once(server, "listening");
const { address: host, port } = server.address() as AddressInfo;
for (const one of Object.values(networkInterfaces()).flat()) {
  const opens = ["0.0.0.0", "::"].includes(host) && one?.family === "IPv4";
  if (!opens || one.internal) continue;
  mq.print(`others open http://${one.address}:${port}/`);
}
