// Batch producer: pushes each line of standard input, many with one LPUSH.
//
//   Redis:    LPUSH task:prodcons:queue 1 2 3 …
//             https://redis.io/docs/latest/commands/lpush/
//   Run:      seq 1 1000 | npx tsx extras/batch-producer.ts
//   Partner:  npx tsx extras/batch-consumer.ts    or every other consumer
//   Delivery: a message that is printed here is in the queue. When Redis or
//             this script ends in between, some may be in it unprinted.

import * as mq from "../config.ts";

const { REDIS_URL, QUEUE } = mq;
const config = mq.settings({ REDIS_URL, QUEUE });
const rcon = await mq.connect(config.REDIS_URL);

async function push(messages: string[]) {
  if (messages.length === 0) return;
  const length = await rcon.lPush(config.QUEUE, messages).catch(mq.fail);
  let before = length - messages.length;
  let printed;
  for (const elem of messages) {
    before++;
    const length = `(queue length ${before})`;
    printed = mq.print("lpush", config.QUEUE, "--", elem, length);
  }
  await printed;
}

// Standard input comes in pieces, which end anywhere in a line. The next piece
// is read when this one is pushed, so the memory stays flat.
let rest = "";
for await (const piece of process.stdin.setEncoding("utf8")) {
  const lines = String(piece).split("\n");
  lines[0] = rest + lines[0];
  rest = lines.pop() ?? "";
  await push(lines.map((line) => line.replace(/\r$/, "")));
}
await push(rest === "" ? [] : [rest]);
rcon.destroy();
