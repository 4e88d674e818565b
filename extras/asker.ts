// Asker (提问者): sends a question (request) through the queue, waits for its
// answer. 通过队列发出问题，等待属于自己的回答。
//
//   Redis:    LPUSH task:prodcons:queue "ID hello"
//             BLPOP task:prodcons:queue:reply:ID 0.5    Redis 6.0 (for 0.5)
//   Run:      npx tsx extras/asker.ts    or: npx tsx extras/asker.ts hello
//   Partner:  npx tsx extras/answerer.ts    in another terminal
//   Delivery: an answer belongs to its question: its list has the question's
//             id (correlation id). After WAIT_MS the asker gives up; whether
//             anybody has worked on the question, it does not know.

import { randomInt, randomUUID } from "node:crypto";
import * as mq from "../config.ts";

const { REDIS_URL, QUEUE } = mq;
const WAIT_MS = mq.whole(1, 3_600_000).default(5000)
  .describe("for an answer, in ms");
const config = mq.settings({ REDIS_URL, QUEUE, WAIT_MS }, {
  allowPositionals: true,
});
const rcon = await mq.connect(config.REDIS_URL);

const questions = config.args.length > 0 ? config.args : [`${randomInt(10)}`];
for (const question of questions) {
  const id = randomUUID();
  await rcon.lPush(config.QUEUE, `${id} ${question}`).catch(mq.fail);
  mq.print("ask", id, "--", question);

  // Half a second at a time: a longer BLPOP would hold up connect()'s PINGs.
  let answer = null;
  for (let left = config.WAIT_MS; left > 0 && answer === null; left -= 500) {
    const seconds = Math.min(left, 500) / 1000;
    answer = await rcon.blPop(`${config.QUEUE}:reply:${id}`, seconds).catch(
      mq.fail,
    );
  }
  if (answer === null) {
    mq.complain(`No answer to "${question}" within ${config.WAIT_MS} ms.`);
    process.exitCode = 1;
  } else mq.print("answer", id, "--", answer.element);
}
rcon.destroy();
