// Batch consumer: consumer.ts, but it takes up to BATCH messages a round trip.
//
//   Redis:    BLMPOP 0.5 1 task:prodcons:queue LEFT COUNT 64    Redis 7.0
//             https://redis.io/docs/latest/commands/blmpop/
//   Run:      npx tsx extras/batch-consumer.ts    Ctrl-C ends it, after a batch
//   Partner:  npx tsx extras/batch-producer.ts, producer.ts, other consumers
//   Delivery: at most once: a crash loses the batch in hand, up to BATCH
//             messages. A batch is also what one consumer keeps from the
//             others: where the work is slow, take --batch 1.

import { setTimeout as sleep } from "node:timers/promises";
import { connect, print, retry, settings, stopGently } from "../config.ts";

const { REDIS_URL, QUEUE, ORDER, WORK_MS, BATCH } = settings(
  ["REDIS_URL", "QUEUE", "ORDER", "WORK_MS", "BATCH"],
);
const rcon = await connect(REDIS_URL, { wait: true });
const stop = stopGently();
const side = ORDER === "lifo" ? "LEFT" : "RIGHT";
// Redis answers with the queue's name and its messages, or null.
type Batch = [queue: string, tasks: string[]];
const messages = (reply: unknown) =>
  reply === null ? null : [...(reply as Batch)[1]];
print("listen task queue");

while (!stop.aborted) {
  // Half a second at most, as in consumer.ts: a program that just ends loses
  // what Redis hands it.
  const taken = rcon.blmPop(0.5, QUEUE, side, { COUNT: BATCH });
  const tasks = await taken.then(messages).catch(retry);
  if (tasks === null) continue;

  let printed;
  for (const task of tasks) {
    printed = print("Task get", task); // all of the batch leaves in one write
    if (WORK_MS > 0) {
      await sleep(WORK_MS);
      printed = print("Task done", task);
    }
  }
  await printed;
}
process.exit();
