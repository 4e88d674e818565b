// Reliable consumer (可靠消费者): what it has in hand stays in Redis till done.
// 处理完之前，消息一直留在 Redis 里：消费者崩溃，消息也不会丢。
//
//   Redis:    BLMOVE task:prodcons:queue task:prodcons:queue:inhand:ID, LREM
//             https://redis.io/docs/latest/commands/blmove/    Redis 6.2
//   Run:      npx tsx extras/reliable-consumer.ts    Ctrl-C ends it
//   Partner:  npx tsx producer.ts    and more consumers, of every kind
//   Delivery: at least once: a crash loses nothing. Another one puts a message
//             back within LEASE_MS, so it can be printed twice. Work that must
//             not be done twice has to notice that itself.

import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorReply, RESP_TYPES } from "redis";
import * as mq from "../config.ts";

const { REDIS_URL, QUEUE, ORDER, WORK_MS, MQ_NAME } = mq;
const LEASE_MS = mq.whole(1000, 3_600_000).default(10_000)
  .describe("when another takes up what a crashed one had in hand, in ms");
const shape = { REDIS_URL, QUEUE, ORDER, WORK_MS, LEASE_MS, MQ_NAME };
const config = mq.settings(shape);
const options = { wait: true, name: config.MQ_NAME };
const rcon = await mq.connect(config.REDIS_URL, options);
const keeper = await mq.connect(config.REDIS_URL, options); // while rcon waits
const stop = mq.stopGently();

const id = `${config.MQ_NAME}/${randomBytes(4).toString("hex")}`;
const takers = `${config.QUEUE}:takers`; // all ids, by their last sign of life
const hand = (id: string) => `${config.QUEUE}:inhand:${id}`;
const side = config.ORDER === "lifo" ? "LEFT" : "RIGHT";
async function putBack(id: string) { // to be the next in the queue
  while (await keeper.lMove(hand(id), config.QUEUE, "LEFT", side));
}

// A lease says that we live: a key that goes by itself unless it is renewed.
const lease = Math.ceil(config.LEASE_MS * 0.4);
let renewed = 0;
let ended = false;
const missed = new Set<string>(); // seen without a lease once
async function live() {
  while (!ended) {
    const now = Date.now();
    try {
      await keeper.zAdd(takers, { score: now, value: id });
      await keeper.pSetEx(`${hand(id)}:lease`, lease, "");
      renewed = now;
      const others = await keeper.zRangeWithScores(takers, 0, -1);
      await Promise.all(others.map(takeUp));
      await sleep(lease / 2);
    } catch (err) {
      missed.clear();
      await mq.recover(err, keeper);
    }
  }
}
async function takeUp({ value, score }: { value: string; score: number }) {
  const lives = value === id || await keeper.exists(`${hand(value)}:lease`);
  if (lives) return void missed.delete(value);
  // Was Redis away or slow? The living renew first; so it takes two looks.
  if (!missed.has(value)) return void missed.add(value);
  await putBack(value);
  // Its last BLMOVE may still come: TCP tries for up to half an hour.
  if (Date.now() < score + 3_600_000) return;
  await keeper.zRem(takers, value);
  missed.delete(value);
}
live();

// LREM has to find the very bytes, also of a text that is not UTF-8.
const bytes = rcon.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
const remove = (task: Buffer): Promise<unknown> =>
  bytes.lRem(hand(id), 1, task).catch(async (err) => {
    await mq.recover(err, rcon);
    // Refused, it is sent again; or what is finished would come again.
    if (err instanceof ErrorReply && !stop.aborted) await remove(task);
  });
let removed: Promise<unknown> | undefined;
let looked = 0;
async function take() {
  // At first, and after having been frozen: nobody may know us (any more).
  if (Date.now() > renewed + lease) return await sleep(10, null);
  if (looked !== renewed) {
    await removed;
    looked = renewed;
    await putBack(id); // what a lost reply has left in our list
  }
  return await bytes.blMove(config.QUEUE, hand(id), side, "LEFT", 1);
}
let hadTrouble = false;
rcon.once("error", () => hadTrouble = true);

// A full Redis deletes by its policy.
const memory = await keeper.info("memory").then(String, () => "");
const policy = memory.match(/maxmemory_policy:(?!noeviction)(\S+)/)?.[1];
if (policy) mq.complain(`A full Redis deletes queues and leases: ${policy}`);
mq.print("listen task queue", config.QUEUE, "as", config.MQ_NAME);

while (!stop.aborted) {
  const task = await take().catch((err) => mq.recover(err, rcon));
  await removed; // Redis has answered it by now, or refused it
  if (task === null) continue;
  if (!Buffer.isBuffer(task)) mq.fail(TypeError()); // that is no Redis

  const text = task.toString("utf8", 0, 1_000_000); // the beginning will do
  await mq.print("Task get", text);
  if (config.WORK_MS > 0) {
    await sleep(config.WORK_MS);
    await mq.print("Task done", text);
  }
  removed = remove(task); // not awaited: it travels with the next BLMOVE
}
await removed;
ended = true;
// All was answered: our list is empty, and stays so. Nobody need look there.
if (!hadTrouble) await keeper.zRem(takers, id).catch(() => {});
process.exit();
