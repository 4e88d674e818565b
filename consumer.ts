// Consumer (消费者): takes messages off the queue, one by one.
//
//   Redis:    BLPOP task:prodcons:queue 0.5 (BRPOP with --order fifo)
//             https://redis.io/docs/latest/commands/blpop/
//   Run:      npx tsx consumer.ts    Ctrl-C ends it, after the message in hand
//   Partner:  npx tsx producer.ts    in another terminal, or server.ts
//   Delivery: at most once: each message goes to one consumer; a crash can
//             lose the one in hand, a broken connection the one on its way.
//   Order:    LPUSH and BLPOP both work at the left end, so of a backlog the
//             newest comes first (a stack). --order fifo: the oldest.

import { setTimeout as sleep } from "node:timers/promises";
import { connect, print, retry, settings, stopGently } from "./config.ts";

const { REDIS_URL, QUEUE, ORDER, WORK_MS } = settings(
  ["REDIS_URL", "QUEUE", "ORDER", "WORK_MS"],
);
const rcon = await connect(REDIS_URL, { wait: true });
const stop = stopGently();
print("listen task queue");

while (!stop.aborted) {
  // 没有消息就等。 Half a second, then look at `stop`. We never break a
  // BLPOP off: a message that Redis has just taken off would be lost.
  const taking = ORDER === "lifo"
    ? rcon.blPop(QUEUE, 0.5)
    : rcon.brPop(QUEUE, 0.5);
  const task = await taking.catch(retry); // null: nothing yet, or an error
  if (task === null) continue;

  await print("Task get", task.element); // before the next one is taken
  if (WORK_MS > 0) {
    await sleep(WORK_MS); // stands for real work on a file or an order
    await print("Task done", task.element);
  }
}
process.exit(); // ends the connection, too, also while Redis is away
