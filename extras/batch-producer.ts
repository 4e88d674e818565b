// Batch producer (批量生产者): pushes each line of standard input, many with
// one LPUSH. 标准输入的每一行是一条消息，一次推入多条。
//
//   Redis:    LPUSH task:prodcons:queue 1 2 3 …    Redis 2.4
//             https://redis.io/docs/latest/commands/lpush/
//   Run:      seq 1 1000 | npx tsx extras/batch-producer.ts
//   Partner:  npx tsx extras/batch-consumer.ts    or every other consumer
//   Delivery: a message that is printed here is in the queue. When Redis or
//             this script ends in between, some may be in it unprinted.
//   Input:    UTF-8, with or without a BOM. The first line that is something
//             else ends it; those before are pushed.

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

// Standard input comes in pieces, which end anywhere: in a line, a character.
// So bytes at first (latin1 has a character for each), and text line by line.
const decoder = new TextDecoder("utf-8", { fatal: true });
let number = 0;
async function pushLines(lines: string[]) {
  const messages: string[] = [];
  for (const line of lines) {
    number++;
    try {
      const text = decoder.decode(Buffer.from(line, "latin1"));
      messages.push(text.replace(/\r$/, ""));
    } catch {
      await push(messages);
      mq.fail(Error("it is not UTF-8"), `line ${number} of the input`);
    }
  }
  await push(messages);
}

// The next piece is read when this one is pushed, so the memory stays flat.
let rest = "";
for await (const piece of process.stdin.setEncoding("latin1")) {
  const lines = String(piece).split("\n");
  lines[0] = rest + lines[0];
  rest = lines.pop() ?? "";
  await pushLines(lines);
  const what = `line ${number + 1} of the input`;
  if (rest.length > 5e8) mq.fail(Error("longer than 500 MB"), what);
}
await pushLines(rest === "" ? [] : [rest]);
rcon.destroy();
