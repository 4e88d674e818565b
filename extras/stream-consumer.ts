// Stream consumer: a member of a group. Each group gets all, its members share.
//
//   Redis:    XREADGROUP GROUP workers MEMBER STREAMS task:stream >, XACK
//             https://redis.io/docs/latest/commands/xreadgroup/
//   Run:      npx tsx extras/stream-consumer.ts    or with: --group audit
//   Partner:  npx tsx extras/stream-producer.ts    before or after
//   Delivery: each group gets all that the stream keeps: what MAXLEN cuts off,
//             a slow group loses. Redis remembers what a member has in hand
//             until its XACK. Where a crash or a broken connection comes first
//             it stays pending (XPENDING shows it): a member that is started
//             again does not get it, only extras/stream-worker.ts takes it.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { cause, complain, connect, print, retry } from "../config.ts";
import { schema, settings, stopGently } from "../config.ts";

// One by one unless told: what one has in hand, the others don't get.
schema.shape.BATCH = schema.shape.BATCH.unwrap().default(1)
  .describe("messages that it takes at once, at most");
const { REDIS_URL, STREAM, GROUP, FROM, WORK_MS, BATCH } = settings(
  ["REDIS_URL", "STREAM", "GROUP", "FROM", "WORK_MS", "BATCH"],
);
const rcon = await connect(REDIS_URL, { wait: true });
const stop = stopGently();
const me = randomUUID();

// "0" is the beginning, "$" the end. BUSYGROUP: the group exists already.
const create = (from: string) =>
  rcon.xGroupCreate(STREAM, GROUP, from, { MKSTREAM: true })
    .catch((err) => cause(err).startsWith("BUSYGROUP") ? "there" : retry(err));
async function again(err: unknown) {
  if (!cause(err).startsWith("NOGROUP")) return await retry(err);
  complain(`Group ${GROUP} is gone: it begins again, with all there is.`);
  await create("0"); // rather twice than never
  return null;
}
while (await create(FROM === "first" ? "0" : "$") === null && !stop.aborted);
print("listen task stream");

type Message = { id: string; message: Record<string, string> };
let acked: Promise<unknown> | undefined;
while (!stop.aborted) {
  const from = { key: STREAM, id: ">" }; // what no member has got yet
  const limits = { COUNT: BATCH, BLOCK: 500 }; // ms, as in consumer.ts
  const taken = rcon.xReadGroup(GROUP, me, from, limits);
  const tasks: Message[] = (await taken.catch(again))?.[0]?.messages ?? [];

  let printed;
  for (const { message } of tasks) {
    const fields = Object.entries(message);
    const text = fields.length === 1 ? fields[0]![1] : fields.flat().join(" ");
    printed = print("Task get", text);
    if (WORK_MS > 0) {
      await sleep(WORK_MS);
      printed = print("Task done", text);
    }
  }
  await printed;
  const ids = tasks.map(({ id }) => id);
  if (ids.length > 0) acked = rcon.xAck(STREAM, GROUP, ids).catch(again);
}
await acked;
process.exit();
