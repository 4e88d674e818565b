// Consumer (消费者): takes messages off the queue, one by one.
//
//   Redis:    BLPOP task:prodcons:queue
//             https://redis.io/docs/latest/commands/blpop/
//   Run:      npx tsx consumer.ts    Ctrl-C ends it, after the message in hand
//   Partner:  npx tsx producer.ts    in another terminal, or server.ts
//   Promise:  at most once: each message goes to one consumer; a crash loses
//             the one in hand.
//   Order:    LPUSH and BLPOP work at the same end: of a backlog the newest
//             comes first, as from a stack. --order fifo takes the oldest.

import { setTimeout as sleep } from "node:timers/promises";
import { connect, print, retry, settings, stopGently } from "./config.ts";

const { REDIS_URL, QUEUE, ORDER, WORK_MS } = settings(
  ["REDIS_URL", "QUEUE", "ORDER", "WORK_MS"],
);
const rcon = await connect(REDIS_URL, { wait: true });
const stop = stopGently();
print("listen task queue");

while (!stop.aborted) {
  // 没有消息就等 Waits for a message, but half a second at most, to see
  // whether Ctrl-C was pressed: a program that just ends loses what Redis
  // hands it at this moment.
  const taken = ORDER === "lifo"
    ? rcon.blPop(QUEUE, 0.5)
    : rcon.brPop(QUEUE, 0.5);
  const task = await taken.catch(retry);
  if (task === null) continue;

  await print("Task get", task.element);
  if (WORK_MS > 0) {
    await sleep(WORK_MS); // the work itself, such as an upload
    await print("Task done", task.element);
  }
}
process.exit();
