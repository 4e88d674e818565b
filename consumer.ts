// Consumer (消费者): takes messages off the queue, one by one, and prints them.
//
//   Redis:    BLPOP task:prodcons:queue    https://redis.io/docs/latest/commands/blpop/
//   Run:      npx tsx consumer.ts          Ctrl-C ends it, after the message in hand
//   Partner:  npx tsx producer.ts          in another terminal, or the page of server.ts
//   Promise:  at most once: each message goes to one consumer; a crash loses the one in hand.
//   Order:    LPUSH and BLPOP work at the same end: of a backlog, the newest message comes first, as from a stack.
//             --order fifo takes it from the other end (BRPOP), the oldest first.

import { setTimeout as sleep } from "node:timers/promises";
import { atQueue, connect, print, retry, settings, stop } from "./config.ts";

const { REDIS_URL, QUEUE, ORDER, WORK_MS } = settings(import.meta.url, [
  "REDIS_URL",
  "QUEUE",
  "ORDER",
  "WORK_MS",
]);
const rcon = await connect(REDIS_URL, true, atQueue(QUEUE));
await print("listen task queue");

while (!stop.aborted) {
  // Waits for a message, but half a second at most, to see whether Ctrl-C was pressed: a program that just ends
  // while Redis hands it a message loses that message.
  const task =
    await (ORDER === "lifo" ? rcon.blPop(QUEUE, 0.5) : rcon.brPop(QUEUE, 0.5))
      .catch(retry);
  if (!task) continue;

  if (WORK_MS) await sleep(WORK_MS); // the work itself, such as an upload
  await print(`Task get ${task.element}`);
}
process.exit();
