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

import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import * as mq from "../config.ts";

const { REDIS_URL, WORK_MS, MQ_NAME } = mq;
const STREAM = mq.text.default("task:stream").describe("the stream");
const MQ_GROUP = mq.text.default("workers").describe("each group gets it all");
const FROM = z.enum(["first", "new"], "must be first or new").default("first")
  .describe("where a group begins that did not exist");
// One by one unless told: what one has in hand, the others don't get.
const BATCH = mq.whole(1, 10_000).default(1)
  .describe("messages that it takes at once, at most");
const config = mq.settings(
  { REDIS_URL, STREAM, MQ_GROUP, FROM, WORK_MS, BATCH, MQ_NAME },
);
const { MQ_GROUP: group, MQ_NAME: me } = config;
const rcon = await mq.connect(config.REDIS_URL, { wait: true, name: me });
const stop = mq.stopGently();

// "0" is the beginning, "$" the end. BUSYGROUP: the group exists already.
const create = (from: string) =>
  rcon.xGroupCreate(config.STREAM, group, from, { MKSTREAM: true })
    .catch((err) =>
      mq.cause(err).startsWith("BUSYGROUP") ? "there" : mq.retry(err, rcon)
    );
async function again(err: unknown) {
  if (!mq.cause(err).startsWith("NOGROUP")) return await mq.retry(err, rcon);
  mq.complain(`Group ${group} is gone: it begins again, with all there is.`);
  await create("0"); // rather twice than never
  return null;
}
while (
  await create(config.FROM === "first" ? "0" : "$") === null && !stop.aborted
);
mq.print("listen task stream", config.STREAM, "as", me, "of", group);

type Message = { id: string; message: Record<string, string> };
let acked: Promise<unknown> | undefined;
while (!stop.aborted) {
  const from = { key: config.STREAM, id: ">" }; // what no member has got yet
  const limits = { COUNT: config.BATCH, BLOCK: 1000 }; // ms, as in consumer.ts
  const taken = rcon.xReadGroup(group, me, from, limits);
  const tasks: Message[] = (await taken.catch(again))?.[0]?.messages ?? [];

  let printed;
  for (const { message } of tasks) {
    const fields = Object.entries(message);
    const text = fields.length === 1 ? fields[0]![1] : fields.flat().join(" ");
    printed = mq.print("Task get", text);
    if (config.WORK_MS > 0) {
      await sleep(config.WORK_MS);
      printed = mq.print("Task done", text);
    }
  }
  await printed;
  const ids = tasks.map(({ id }) => id);
  if (ids.length > 0) acked = rcon.xAck(config.STREAM, group, ids).catch(again);
}
await acked;
process.exit();
