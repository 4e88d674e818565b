// Priority consumer: what is urgent first, then the queue.
//
//   Redis:    BLPOP task:prodcons:queue:urgent task:prodcons:queue 0.5
//             https://redis.io/docs/latest/commands/blpop/
//   Run:      npx tsx extras/priority-consumer.ts    Ctrl-C ends it
//   Partner:  npx tsx producer.ts --queue task:prodcons:queue:urgent fire
//   Delivery: at most once, as consumer.ts. While urgent ones keep coming, the
//             others starve. What is in hand is finished first, always.

import { setTimeout as sleep } from "node:timers/promises";
import { connect, print, retry, settings, stopGently } from "../config.ts";

const { REDIS_URL, QUEUE, ORDER, WORK_MS } = settings(
  ["REDIS_URL", "QUEUE", "ORDER", "WORK_MS"],
);
const rcon = await connect(REDIS_URL, { wait: true });
const stop = stopGently();
const queues = [`${QUEUE}:urgent`, QUEUE]; // Redis looks in this order
print("listen task queue");

while (!stop.aborted) {
  // Half a second at most, as in consumer.ts.
  const taken = ORDER === "lifo"
    ? rcon.blPop(queues, 0.5)
    : rcon.brPop(queues, 0.5);
  const task = await taken.catch(retry);
  if (task === null) continue;

  await print("Task get", task.element);
  if (WORK_MS > 0) {
    await sleep(WORK_MS);
    await print("Task done", task.element);
  }
}
process.exit();
