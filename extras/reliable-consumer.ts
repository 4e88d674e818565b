// Reliable consumer: what it has in hand stays in Redis until it is done.
//
//   Redis:    BLMOVE task:prodcons:queue task:prodcons:queue:inhand:ID, LREM
//             https://redis.io/docs/latest/commands/blmove/
//   Run:      npx tsx extras/reliable-consumer.ts    Ctrl-C ends it
//   Partner:  npx tsx producer.ts    and more consumers, of every kind
//   Delivery: at least once: a crash loses nothing. Another one takes the
//             message up within LEASE_MS, so it can be printed twice. Work that
//             must not be done twice has to notice that itself.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { RESP_TYPES } from "redis";
import * as mq from "../config.ts";

const { REDIS_URL, QUEUE: Q, ORDER, WORK_MS, MQ_NAME } = mq;
const lease = mq.whole(1000, 3_600_000).default(10_000)
  .describe("when another takes up what a crashed one had in hand, in ms");
const config = mq.settings(
  { REDIS_URL, QUEUE: Q, ORDER, WORK_MS, LEASE_MS: lease, MQ_NAME },
);
const { QUEUE, LEASE_MS, MQ_NAME: name } = config;
const rcon = await mq.connect(config.REDIS_URL, { wait: true, name });
const keeper = await mq.connect(config.REDIS_URL, { wait: true, name }); // rcon is busy waiting
const stop = mq.stopGently();

// LREM has to find the very bytes, also of a text that is not UTF-8.
const bytes = rcon.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
const side = config.ORDER === "lifo" ? "LEFT" : "RIGHT";
const id = randomUUID();
const everybody = `${QUEUE}:inhand`; // the ids of all reliable consumers
const mine = `${QUEUE}:inhand:${id}`;
let mayHold = false; // whether our list may hold more than what we work on

// A lease says that we live: a key that goes by itself unless it is renewed.
let connected = performance.now(); // when Redis came back, or took renewals
let renewed = -Infinity;
async function keep() {
  await keeper.multi().sAdd(everybody, id)
    .set(`${mine}:lease`, "alive", {
      expiration: { type: "PX", value: Math.ceil(LEASE_MS / 2) },
    }).exec();
  renewed = performance.now();
  mayHold = true; // also what a lost reply has left in our list

  // Just connected, perhaps because Redis was away: the living renew first.
  if (performance.now() - connected < LEASE_MS / 2) return;
  for (const other of await keeper.sMembers(everybody)) {
    const list = `${QUEUE}:inhand:${other}`;
    if (other === id || await keeper.exists(`${list}:lease`)) continue;
    // It is dead. What it had in hand is ours now.
    while (await keeper.lMove(list, mine, "LEFT", "RIGHT")) mayHold = true;
    await keeper.sRem(everybody, other);
    // Only frozen, and awake again?
    const alive = await keeper.exists(`${list}:lease`);
    if (alive) await keeper.sAdd(everybody, other);
  }
}
const renew = () =>
  keep().catch((err) => {
    connected = performance.now(); // nobody else can renew, either
    return mq.retry(err, keeper);
  });
keeper.on("ready", () => {
  connected = performance.now();
  renew();
});
setInterval(renew, LEASE_MS / 4);
mq.print("listen task queue", QUEUE, "as", name);

let removed: Promise<unknown> | undefined;
while (!stop.aborted) {
  // At first, and after having been frozen: nobody knows us (any more).
  if (performance.now() > renewed + LEASE_MS / 2) await renew();

  const again: boolean = mayHold;
  mayHold = false; // before the reply, since keep() may set it meanwhile
  const taken: Promise<Buffer | null> = again
    ? bytes.lIndex(mine, 0)
    : bytes.blMove(QUEUE, mine, side, "LEFT", 1);
  const task = await taken.catch((err) => mq.retry(err, rcon));
  if (task === null) continue;
  mayHold ||= again; // there may be more

  const text = task.toString("utf8", 0, 1_000_000); // the beginning will do
  await mq.print("Task get", text);
  if (config.WORK_MS > 0) {
    await sleep(config.WORK_MS);
    await mq.print("Task done", text);
  }
  // It need not be awaited: it travels with the next BLMOVE, in this order.
  removed = bytes.lRem(mine, 1, task).catch((err) => mq.retry(err, rcon));
}
await removed;
process.exit();
