// Answerer: takes questions off the queue, answers each in a list of its own.
//
//   Redis:    BRPOP task:prodcons:queue 0.5, then at once
//             MULTI, LPUSH task:prodcons:queue:reply:ID olleh, EXPIRE, EXEC
//   Run:      npx tsx extras/answerer.ts    Ctrl-C ends it; start several
//   Partner:  npx tsx extras/asker.ts hello    in another terminal
//   Delivery: at most once: each question goes to one answerer; a crash loses
//             the one in hand. It also works on what nobody waits for any more;
//             such an answer goes by itself after a minute.

import { setTimeout as sleep } from "node:timers/promises";
import { complain, connect, print, retry } from "../config.ts";
import { settings, stopGently } from "../config.ts";

const { REDIS_URL, QUEUE, WORK_MS } = settings(
  ["REDIS_URL", "QUEUE", "WORK_MS"],
);
const rcon = await connect(REDIS_URL, { wait: true });
const stop = stopGently();
print("listen task queue");

while (!stop.aborted) {
  // The oldest first; half a second at most, as in consumer.ts.
  const task = await rcon.brPop(QUEUE, 0.5).catch(retry);
  if (task === null) continue;
  const [id, ...words] = task.element.split(" ");
  const question = words.join(" ");

  await print("Task get", question);
  await sleep(WORK_MS); // stands for real work: the question backwards
  const answer = [...question].reverse().join("");

  // Both or neither: an answer without an end would stay for ever.
  const reply = `${QUEUE}:reply:${id}`;
  const send = () => rcon.multi().lPush(reply, answer).expire(reply, 60).exec();
  let sent = await send().catch(retry);
  while (sent === null && !stop.aborted) sent = await send().catch(retry);
  if (sent) await print("Task done", question);
  else complain(`Not answered, Redis is away: ${question}`);
}
process.exit();
