// Producer (生产者): pushes one random digit, or each message given.
//
//   Redis:    LPUSH task:prodcons:queue 7
//             https://redis.io/docs/latest/commands/lpush/
//   Run:      npx tsx producer.ts    or: npx tsx producer.ts "order 1001"
//   Partner:  npx tsx consumer.ts    in another terminal, before or after
//   Delivery: a message that is printed here was queued. If the connection
//             breaks, one that is not printed may be queued, too.

import { randomInt } from "node:crypto";
import * as mq from "./config.ts";

const { REDIS_URL, QUEUE } = mq;
const config = mq.settings({ REDIS_URL, QUEUE }, "[message …]");
const rcon = await mq.connect(config.REDIS_URL);

// 随机数。 A random digit, as in the articles.
const messages = config.args.length > 0 ? config.args : [`${randomInt(10)}`];
for (const elem of messages) {
  // 推入队列左端。 Onto the left end of the list (fail ends the script).
  const length = await rcon.lPush(config.QUEUE, elem).catch(mq.fail);
  mq.print("lpush", config.QUEUE, "--", elem, `(queue length ${length})`);
}
rcon.destroy(); // or we would not end; every push is answered, none is lost
