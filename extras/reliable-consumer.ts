// Reliable consumer: what consumer.ts does, with another promise. What it has in hand stays in Redis until it is done.
//
//   Redis:    BLMOVE task:prodcons:queue task:prodcons:queue:inhand:ID, then LREM    https://redis.io/docs/latest/commands/blmove/
//   Run:      npx tsx extras/reliable-consumer.ts    Ctrl-C ends it, after the message in hand
//   Partner:  npx tsx producer.ts                    and more consumers, of every kind
//   Promise:  at least once: a crash loses nothing. Another one that runs takes the message up within LEASE_MS, so one that
//             was in hand at a crash can be printed twice. Work that must not be done twice has to notice that itself.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { RESP_TYPES } from "redis";
import {
  atQueue,
  client,
  connect,
  print,
  retry,
  settings,
  stop,
} from "../config.ts";

const { REDIS_URL, QUEUE, ORDER, WORK_MS, LEASE_MS } = settings(
  import.meta.url,
  ["REDIS_URL", "QUEUE", "ORDER", "WORK_MS", "LEASE_MS"],
);
const rcon = await connect(REDIS_URL, true, atQueue(QUEUE));
const bytes = rcon.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }); // LREM must find the very bytes, also of a text that is not UTF-8
const side = ORDER === "lifo" ? "LEFT" : "RIGHT";
const inHand = `${QUEUE}:inhand:`;
const mine = inHand + randomUUID();
let mayHold = false; // whether our list may hold more than the message that we work on

// The lease says that we live. A list whose consumer has none is a dead one's: we take up what is in it.
const keeper = client(REDIS_URL, true, { name: "lease" }); // a connection of its own: rcon is busy waiting
let back = 0;
keeper.on("ready", () => {
  back = Date.now();
  keep().catch(retry);
});
async function keep() {
  await keeper.set(`${mine}:lease`, "alive", {
    expiration: { type: "PX", value: Math.ceil(LEASE_MS / 2) },
  });
  mayHold = true; // also for what a lost reply has left in our list
  if (Date.now() - back < LEASE_MS / 2) return; // just connected, perhaps because Redis was away: first let the living renew
  // Simplified: SCAN walks all keys of the db. Where there are millions, keep the queue in a db of its own.
  for await (
    const lists of keeper.scanIterator({
      MATCH: inHand.replace(/[[\]*?\\]/g, "\\$&") + "*",
      TYPE: "list",
      COUNT: 1000,
    })
  ) {
    for (const list of lists) {
      if (list === mine || await keeper.exists(`${list}:lease`)) continue;
      while (await keeper.lMove(list, mine, "LEFT", "RIGHT")) mayHold = true;
    }
  }
}
while (!stop.aborted && !await keep().then(() => true).catch(retry));
setInterval(() => keep().catch(retry), LEASE_MS / 4);
await print("listen task queue");

while (!stop.aborted) {
  const fromMine: boolean = mayHold;
  mayHold = false; // before the reply: keep() may set it again meanwhile
  const task: Buffer | null = await (fromMine
    ? bytes.lIndex(mine, 0)
    : bytes.blMove(QUEUE, mine, side, "LEFT", 0.5)).catch(retry);
  if (task === null) {
    continue;
  }
  mayHold ||= fromMine; // there may be more

  if (WORK_MS) {
    await sleep(WORK_MS);
  }
  await print(`Task get ${task}`);
  // Done. It need not be awaited: one connection keeps the order, so it travels with the next BLMOVE.
  bytes.lRem(mine, 1, task).catch(retry);
}
await rcon.close().catch(() => {}); // waits for the last LREM
process.exit();
