// Producer (生产者): pushes one random digit, or each message given as an argument, onto the queue.
//
//   Redis:    LPUSH task:prodcons:queue 7    https://redis.io/docs/latest/commands/lpush/
//   Run:      npx tsx producer.ts            or: npx tsx producer.ts "order 1001" "order 1002"
//             seq 1 1000 | npx tsx producer.ts -    pushes each line of standard input
//   Partner:  npx tsx consumer.ts            in another terminal, before or after
//   Promise:  a message that is printed here is in the queue, where it waits for a consumer.

import { randomInt } from "node:crypto";
import { connect, fail, print, settings } from "./config.ts";

const { REDIS_URL, QUEUE, args } = settings(import.meta.url, [
  "REDIS_URL",
  "QUEUE",
], "[message … | -]");
const rcon = await connect(REDIS_URL, false);

// Standard input comes in chunks; the lines of one are pushed with one LPUSH, and the next chunk waits for its reply.
async function* linesOfStdin() {
  let rest = "";
  for await (const chunk of process.stdin.setEncoding("utf8")) {
    const lines = (rest + chunk).split(/\r?\n/);
    rest = lines.pop() ?? "";
    if (lines.length) yield lines;
  }
  if (rest) yield [rest];
}
const batches = args.join() === "-"
  ? linesOfStdin()
  : args.length
  ? args.map((arg) => [arg])
  : [[String(randomInt(10))]];

for await (const batch of batches) {
  const length = await rcon.lPush(QUEUE, batch).catch(fail);
  await Promise.all(
    batch.map((elem, i) =>
      print(
        `lpush ${QUEUE} -- ${elem} (queue length ${
          length - batch.length + i + 1
        })`,
      )
    ),
  );
}
rcon.destroy();
