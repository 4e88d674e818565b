// Board: server.ts with a live picture of both models in place of its page.
//
//   Redis:    what the links send, and what looks on: MONITOR, CLIENT LIST,
//             LLEN, LINDEX    https://redis.io/docs/latest/commands/monitor/
//   Run:      npx tsx extras/board.ts    then open the address that it prints
//   Partner:  every other script, npm start, and the articles' own Python
//   Delivery: it shows what Redis says, ten times a second. What Redis does not
//             say (who took a message, of several) it does not claim.
//
// Simplified: while thousands of commands a second come in, it stops listening
// to them and only counts; MONITOR would cost Redis half of its speed.

import { randomBytes } from "node:crypto";
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
const rcon = await mq.connect(REDIS_URL, { wait: true });
// Behind the address, if there is one: //localhost:6379/5
const db = Number(REDIS_URL.match(/\/\/.*\/(\d+)$/)?.[1] ?? 0);

// 1. The page. Only its own script and style, with its nonce, may run in it.
const html = readFileSync(new URL("board.html", import.meta.url), "utf8");
function index(res: ServerResponse) {
  const nonce = randomBytes(16).toString("base64");
  const zh = res.req.headers["accept-language"]?.startsWith("zh");
  res.setHeader("Content-Type", "text/html; charset=utf-8");
  res.end(html.replaceAll("NONCE", nonce).replace("LANG", zh ? "zh-CN" : "en"));
}

// 2. A look at Redis. Of long messages only the beginning leaves Redis: the
// script that cuts them runs there. KEYS: the list; ARGV: its end, how many.
const script = `
  local texts = {}
  for i = 0, ARGV[2] - 1 do
    local at = ARGV[1] == "left" and i or -1 - i
    local text = redis.call("LINDEX", KEYS[1], at)
    if not text then break end
    texts[#texts + 1] = string.sub(text, 1, 160)
  end
  return texts`;
async function beginnings(key: string, end: string, count: number) {
  const options = { keys: [key], arguments: [end, String(count)] };
  return [await rcon.eval(script, options)].flat().map(String);
}

const refused: Record<string, string> = {}; // what this Redis does not allow
const refuse = (what: string) => (err: unknown) => {
  if (!rcon.isReady) throw err;
  refused[what] = mq.cause(err);
  return null;
};
const takes = ["blpop", "brpop", "blmove", "blmpop"];
let known = new Map<number, string>(); // which client takes, by what: blpop …

async function look() {
  const [list, length, ids, subscribers, left, right] = await Promise.all([
    rcon.clientList().catch(refuse("CLIENT LIST")),
    rcon.lLen(QUEUE),
    rcon.sMembers(`${QUEUE}:inhand`),
    rcon.pubSubNumSub(CHANNEL).then((all) => Number(Object.values(all)[0])),
    beginnings(QUEUE, "left", 20),
    beginnings(QUEUE, "right", 20),
  ]);
  const consumers = list?.filter((one) => one.db === db).flatMap((one) => {
    const { id, cmd, addr: at, name, flags } = one;
    // Once a consumer, always: while it works, its last command may be a PING.
    const by = takes.includes(cmd) ? cmd : known.get(id);
    return by ? [{ id, at, name, by, idle: flags.includes("b") }] : [];
  });
  known = new Map(consumers?.map(({ id, by }) => [id, by]));
  const hands = await Promise.all(
    ids.slice(0, 12).map(async (id) => {
      const list = `${QUEUE}:inhand:${id}`;
      const alive = await rcon.exists(`${list}:lease`) === 1;
      return { list, alive, has: await beginnings(list, "left", 5) };
    }),
  );
  return { length, left, right, consumers, hands, subscribers };
}

// 3. The commands as they come in, while a page is open.
const commands: string[] = [];
let seen: number | undefined; // how many of them came before the last look
let count = 0; // since the last look
let monitor: { destroy(): void } | undefined;
let pause = 0; // looks without it, after a flood
// What asks and does not change anything: most of it are our own looks.
const asks = /"(ping|hello|client|select|eval|llen|smembers|exists|pubsub)"/i;

function hear(line: string) {
  if (line.slice(0, 40).includes(" lua] ")) return; // our script's own steps
  if (line.includes(`"LLEN" ${JSON.stringify(QUEUE)}`)) seen = commands.length;
  if (++count > 300 || asks.test(line.slice(0, 80))) return;
  commands.push(line.slice(0, 2000));
}

async function listen() {
  if (monitor || refused.MONITOR || --pause > 0) return;
  const fresh = monitor = rcon.duplicate();
  fresh.on("error", () => {}); // the next look says it
  await fresh.connect()
    .then(() => fresh.monitor((line) => hear(String(line))))
    .catch(refuse("MONITOR")).catch(() => deafen());
}
function deafen(looks = 0) {
  monitor?.destroy();
  monitor = undefined;
  pause = looks;
}

// 4. Open pages hear of it: one look for all of them, and none without.
const pages = new Set<ServerResponse>();
let looking: Promise<void> | undefined;
function live(res: ServerResponse) {
  res.setHeader("Content-Type", "text/event-stream").flushHeaders();
  pages.add(res);
  res.on("close", () => pages.delete(res));
  looking ??= show();
}

async function show() {
  while (pages.size > 0) {
    await Promise.race([listen(), sleep(500)]); // no longer if Redis is away
    const state = await look().catch((err) => ({ away: mq.cause(err) }));
    // MONITOR tells of the look, too, perhaps a moment later.
    for (let i = 0; i < 9 && monitor && seen === undefined; i++) await sleep(5);
    const heard = commands.splice(0, seen ?? 300);
    const deaf = !monitor || count > 300;
    const data = { ...state, db, QUEUE, CHANNEL, heard, deaf, refused };
    if (count > 300) deafen(10); // MONITOR would halve Redis's speed
    [count, seen] = [0, undefined];
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

// 6. Listening everywhere: others open it by this machine's own addresses.
if (!server.listening) await once(server, "listening");
const { address: host, port } = server.address() as AddressInfo;
const all = Object.values(networkInterfaces()).flatMap((some) => some ?? []);
for (const { address, family, internal } of all) {
  const opens = ["0.0.0.0", "::"].includes(host) && family === "IPv4";
  if (opens && !internal) mq.print(`others open http://${address}:${port}/`);
}
