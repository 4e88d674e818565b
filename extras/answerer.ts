// Answerer (应答者): takes questions off the queue, answers each in a list
// of its own. 从队列取出问题，把回答放进各自的列表。
//
//   Redis:    BRPOP task:prodcons:queue 1, then at once
//             MULTI, LPUSH task:prodcons:queue:reply:ID olleh, EXPIRE, EXEC 2.0
//   Run:      npx tsx extras/answerer.ts    Ctrl-C ends it; start several
//   Partner:  npx tsx extras/asker.ts hello    in another terminal
//   Delivery: at most once: each question goes to one answerer; a crash loses
//             the one in hand. It also works on what nobody waits for any more;
//             such an answer goes by itself after a minute.

import { setTimeout as sleep } from "node:timers/promises";
import { MultiErrorReply } from "redis";
import * as mq from "../config.ts";

const { REDIS_URL, QUEUE, WORK_MS, MQ_NAME } = mq;
const config = mq.settings({ REDIS_URL, QUEUE, WORK_MS, MQ_NAME });
const name = config.MQ_NAME;
const rcon = await mq.connect(config.REDIS_URL, { wait: true, name });
const stop = mq.stopGently();
// Of a MULTI the command that failed says why.
const recover = (err: unknown) =>
  mq.recover(err instanceof MultiErrorReply ? [...err.errors()][0] : err, rcon);
mq.print("listen task queue", config.QUEUE, "as", name);

while (!stop.aborted) {
  // The oldest first; a second at most, as in consumer.ts.
  const task = await rcon.brPop(config.QUEUE, 1).catch(recover);
  if (task === null) continue;
  const [id, ...words] = task.element.split(" ");
  const question = words.join(" ");

  await mq.print("Task get", question);
  await sleep(config.WORK_MS); // stands for real work: the question backwards
  const answer = [...question].reverse().join("");

  // Both or neither: an answer without an end would stay for ever.
  const reply = `${config.QUEUE}:reply:${id}`;
  const send = () => rcon.multi().lPush(reply, answer).expire(reply, 60).exec();
  let sent = await send().catch(recover);
  while (sent === null && !stop.aborted) sent = await send().catch(recover);
  if (sent) await mq.print("Task done", question);
  else mq.complain(`Not answered, Redis is away: ${question}`);
}
process.exit();
