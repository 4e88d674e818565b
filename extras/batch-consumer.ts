// Batch consumer: what consumer.ts does, many times as fast: it takes up to BATCH messages a round trip.
//
//   Redis:    BLMPOP 0.5 1 task:prodcons:queue LEFT COUNT 64    https://redis.io/docs/latest/commands/blmpop/, Redis 7.0 or later
//   Run:      npx tsx extras/batch-consumer.ts                  Ctrl-C ends it, after the batch in hand
//   Partner:  npx tsx producer.ts                               and more consumers, of every kind
//   Promise:  at most once: each message goes to one consumer; a crash loses the batch in hand, up to BATCH messages.
//             A batch is also what one consumer keeps from the others: where the work is slow, take --batch 1.

import { setTimeout as sleep } from "node:timers/promises";
import { atQueue, connect, print, retry, settings, stop } from "../config.ts";

const { REDIS_URL, QUEUE, ORDER, WORK_MS, BATCH } = settings(import.meta.url, [
  "REDIS_URL",
  "QUEUE",
  "ORDER",
  "WORK_MS",
  "BATCH",
]);
const rcon = await connect(REDIS_URL, true, atQueue(QUEUE));
const side = ORDER === "lifo" ? "LEFT" : "RIGHT";
await print("listen task queue");

while (!stop.aborted) {
  // Half a second at most, as in consumer.ts: what Redis hands to a program that just ends is lost.
  const batch = await rcon.blmPop(0.5, QUEUE, side, { COUNT: BATCH }).catch(
    retry,
  );
  if (!batch) continue;

  const [, tasks] = batch as [queue: string, tasks: string[]];
  const printed = [];
  for (const task of tasks) {
    if (WORK_MS) await sleep(WORK_MS);
    printed.push(print(`Task get ${task}`)); // not awaited one by one: without work the batch leaves in one write
  }
  await Promise.all(printed);
}
process.exit();
