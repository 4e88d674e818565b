// Consumer: takes messages off the queue one by one. 消费者：逐条取走消息。
//
//   Redis:    BLPOP task:prodcons:queue 1    https://redis.io/commands/blpop
//   Run:      npx tsx consumer.ts    Ctrl-C ends it, after the message in hand
//   Partner:  npx tsx producer.ts    in another terminal, or server.ts
//   Delivery: at most once: each message goes to one consumer; a crash can
//             lose the one in hand, a broken connection the one on its way.
//   Order:    LPUSH and BLPOP both work at the left end, so of a backlog the
//             newest comes first (a stack). --order fifo (BRPOP): the oldest.

import { setTimeout as sleep } from "node:timers/promises";
import * as mq from "./config.ts";

const { REDIS_URL, QUEUE, ORDER, WORK_MS, MQ_NAME } = mq;
const config = mq.settings({ REDIS_URL, QUEUE, ORDER, WORK_MS, MQ_NAME });
const name = config.MQ_NAME; // for Redis's CLIENT LIST, and the board
// wait: where Redis is away, now or later, we wait for it instead of ending.
const rcon = await mq.connect(config.REDIS_URL, { wait: true, name });
const stop = mq.stopGently(); // from here on Ctrl-C only aborts it
const pop = config.ORDER === "lifo" ? "blPop" : "brPop";
mq.print("listen task queue", config.QUEUE, "as", name);

while (!stop.aborted) {
  // 没有消息就等。 Waits for a message, a second at most; then looks at `stop`.
  // (Ctrl-C does not cancel it: that could lose what it has just taken.)
  const taking = rcon[pop](config.QUEUE, 1);
  const task = await taking.catch((err) => mq.recover(err, rcon));
  if (task === null) continue; // none yet; or an error, and a pause

  await mq.print("Task get", task.element); // written, before we take more
  if (config.WORK_MS === 0) continue; // as in the articles: no "done"
  await sleep(config.WORK_MS); // stands for real work on a file or an order
  await mq.print("Task done", task.element);
}
process.exit(); // ends the connection, too, even one that is being made
