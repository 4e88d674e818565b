// Stream producer (流生产者): appends one random digit, or each message given.
// 把消息追加到流的末尾；读过的也留在流里。
//
//   Redis:    XADD task:stream MAXLEN ~ 10000 * task 7    Redis 5.0
//             https://redis.io/docs/latest/commands/xadd/
//   Run:      npx tsx extras/stream-producer.ts    or with messages, as
//             npx tsx extras/stream-producer.ts "order 1001"
//   Partner:  npx tsx extras/stream-consumer.ts    before or after
//   Delivery: a message that is printed here is in the stream. It stays there,
//             also when it was read, until MAXLEN cuts it off: the stream keeps
//             about the newest 10,000. What a slow group has not read by then
//             it never gets; what is cut off in hand, nobody can take over.

import { randomInt } from "node:crypto";
import * as mq from "../config.ts";

const { REDIS_URL } = mq;
const STREAM = mq.text.default("task:stream").describe("the stream");
const config = mq.settings({ REDIS_URL, STREAM }, { allowPositionals: true });
const rcon = await mq.connect(config.REDIS_URL);

// ~ cuts off only where it is cheap: whole blocks of the stream.
const TRIM = {
  strategy: "MAXLEN",
  strategyModifier: "~",
  threshold: 10_000,
} as const;
const tasks = config.args.length > 0 ? config.args : [`${randomInt(10)}`];
for (const task of tasks) {
  // * lets Redis choose the id: the time in ms, and a number.
  const added = rcon.xAdd(config.STREAM, "*", { task }, { TRIM });
  const id = await added.catch(mq.fail);
  mq.print("xadd", config.STREAM, "--", task, `(id ${id})`);
}
rcon.destroy();
