// Producer: pushes one digit, or each message. 生产者：推入随机数或给出的消息。
//
//   Redis:    LPUSH task:prodcons:queue 7    https://redis.io/commands/lpush
//   Run:      npx tsx producer.ts    or: npx tsx producer.ts "order 1001"
//   Partner:  npx tsx consumer.ts    in another terminal, before or after
//   Delivery: a message that is printed here is in the queue. If the connection
//             breaks, the last one may be in it and not be printed.

import { randomInt } from "node:crypto";
import * as mq from "./config.ts";

// 设置。 Which settings: config.ts describes them. Then their values: --queue,
// or the environment's QUEUE, or the default; and args, words without a flag.
const { REDIS_URL, QUEUE } = mq;
const config = mq.settings({ REDIS_URL, QUEUE }, { allowPositionals: true });
const rcon = await mq.connect(config.REDIS_URL);

// 随机数。 A random digit if there is none; as text, for node-redis needs text.
const messages = config.args.length > 0 ? config.args : [`${randomInt(10)}`];
for (const elem of messages) {
  // 推入队列左端。 Onto the list's left end. If it fails, we say so and end.
  const length = await rcon.lPush(config.QUEUE, elem).catch(mq.fail);
  mq.print("lpush", config.QUEUE, "--", elem, `(queue length ${length})`);
}
rcon.destroy(); // else the open connection would keep us running
