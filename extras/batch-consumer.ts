// Batch consumer (批量消费者): consumer.ts, but it takes up to BATCH messages a
// round trip. 一次往返取出多条消息。
//
//   Redis:    BLMPOP 1 1 task:prodcons:queue LEFT COUNT 64    Redis 7.0
//             https://redis.io/docs/latest/commands/blmpop/
//   Run:      npx tsx extras/batch-consumer.ts    Ctrl-C ends it, after a batch
//   Partner:  npx tsx extras/batch-producer.ts, producer.ts, other consumers
//   Delivery: at most once: a crash loses the batch in hand, up to BATCH
//             messages. A batch is also what one consumer keeps from the
//             others: where the work is slow, take --batch 1.

import { setTimeout as sleep } from "node:timers/promises";
import * as mq from "../config.ts";

const { REDIS_URL, QUEUE, ORDER, WORK_MS, MQ_NAME } = mq;
const BATCH = mq.whole(1, 10_000).default(64)
  .describe("messages a round trip at most");
const shape = { REDIS_URL, QUEUE, ORDER, WORK_MS, BATCH, MQ_NAME };
const config = mq.settings(shape);
const name = config.MQ_NAME;
const rcon = await mq.connect(config.REDIS_URL, { wait: true, name });
const stop = mq.stopGently();
const side = config.ORDER === "lifo" ? "LEFT" : "RIGHT";
// Redis answers with the queue's name and its messages, or null.
type Batch = [queue: string, tasks: string[]];
const messages = (reply: unknown) =>
  reply === null ? null : [...(reply as Batch)[1]];
mq.print("listen task queue", config.QUEUE, "as", name);

while (!stop.aborted) {
  // A second at most, as in consumer.ts: a program that just ends loses
  // what Redis hands it.
  const taken = rcon.blmPop(1, config.QUEUE, side, { COUNT: config.BATCH });
  const tasks = await taken.then(messages).catch((err) =>
    mq.recover(err, rcon)
  );
  if (tasks === null) continue;

  let printed;
  for (const task of tasks) {
    printed = mq.print("Task get", task); // the batch leaves in one write
    if (config.WORK_MS > 0) {
      await sleep(config.WORK_MS);
      printed = mq.print("Task done", task);
    }
  }
  await printed;
}
process.exit();
