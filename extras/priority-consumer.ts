// Priority consumer (优先级消费者): what is urgent first, then the queue.
// 先取紧急的消息，再取普通的。
//
//   Redis:    BLPOP task:prodcons:queue:urgent task:prodcons:queue 1 (2.0)
//             https://redis.io/docs/latest/commands/blpop/
//   Run:      npx tsx extras/priority-consumer.ts    Ctrl-C ends it
//   Partner:  npx tsx producer.ts --queue task:prodcons:queue:urgent fire
//   Delivery: at most once, as consumer.ts. While urgent ones keep coming, the
//             others starve. What is in hand is finished first, always.

import { setTimeout as sleep } from "node:timers/promises";
import * as mq from "../config.ts";

const { REDIS_URL, QUEUE, ORDER, WORK_MS, MQ_NAME } = mq;
const config = mq.settings({ REDIS_URL, QUEUE, ORDER, WORK_MS, MQ_NAME });
const name = config.MQ_NAME;
const rcon = await mq.connect(config.REDIS_URL, { wait: true, name });
const stop = mq.stopGently();
const pop = config.ORDER === "lifo" ? "blPop" : "brPop";
const queues = [`${config.QUEUE}:urgent`, config.QUEUE]; // in this order
mq.print("listen task queue", config.QUEUE, "as", name);

while (!stop.aborted) {
  // A second at most, as in consumer.ts.
  const taking = rcon[pop](queues, 1);
  const task = await taking.catch((err) => mq.recover(err, rcon));
  if (task === null) continue;

  await mq.print("Task get", task.element);
  if (config.WORK_MS === 0) continue;
  await sleep(config.WORK_MS);
  await mq.print("Task done", task.element);
}
process.exit();
