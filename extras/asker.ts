// Asker: sends a question (request) through the queue, waits for its answer.
//
//   Redis:    LPUSH task:prodcons:queue "ID hello"
//             BLPOP task:prodcons:queue:reply:ID 0.5
//   Run:      npx tsx extras/asker.ts    or: npx tsx extras/asker.ts hello
//   Partner:  npx tsx extras/answerer.ts    in another terminal
//   Delivery: an answer belongs to its question: its list has the question's
//             id (correlation id). After WAIT_MS the asker gives up; whether
//             anybody has worked on the question, it does not know.

import { randomInt, randomUUID } from "node:crypto";
import { complain, connect, fail, print, settings } from "../config.ts";

const { REDIS_URL, QUEUE, WAIT_MS, args } = settings(
  ["REDIS_URL", "QUEUE", "WAIT_MS"],
  "[question …]",
);
const rcon = await connect(REDIS_URL);

for (const question of args.length > 0 ? args : [String(randomInt(10))]) {
  const id = randomUUID();
  await rcon.lPush(QUEUE, `${id} ${question}`).catch(fail);
  print("ask", id, "--", question);

  // Half a second at a time: a longer BLPOP would hold up connect()'s PINGs.
  let answer = null;
  for (let left = WAIT_MS; left > 0 && answer === null; left -= 500) {
    const seconds = Math.min(left, 500) / 1000;
    answer = await rcon.blPop(`${QUEUE}:reply:${id}`, seconds).catch(fail);
  }
  if (answer === null) {
    complain(`No answer to "${question}" within ${WAIT_MS} ms.`);
    process.exitCode = 1;
  } else print("answer", id, "--", answer.element);
}
rcon.destroy();
