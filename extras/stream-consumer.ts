// Stream consumer (流消费者): a member of a group. Each group gets all, its
// members share. 每个组得到全部消息，组内成员分担。
//
//   Redis:    XREADGROUP GROUP workers MEMBER STREAMS task:stream >, XACK
//             https://redis.io/docs/latest/commands/xreadgroup/    Redis 5.0
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
const shape = { REDIS_URL, STREAM, MQ_GROUP, FROM, WORK_MS, BATCH, MQ_NAME };
const config = mq.settings(shape);
const { STREAM: stream, MQ_GROUP: group, MQ_NAME: name } = config;
const rcon = await mq.connect(config.REDIS_URL, { wait: true, name });
const stop = mq.stopGently();

// "0" is the beginning, "$" the end. BUSYGROUP: the group exists already.
const create = (from: string) =>
  rcon.xGroupCreate(stream, group, from, { MKSTREAM: true }).catch((err) =>
    mq.cause(err).startsWith("BUSYGROUP") ? "there" : mq.recover(err, rcon)
  );
async function again(err: unknown) {
  if (!mq.cause(err).startsWith("NOGROUP")) return await mq.recover(err, rcon);
  mq.complain(`Group ${group} is gone: it begins again, with all there is.`);
  await create("0"); // rather twice than never
  return null;
}
const start = config.FROM === "first" ? "0" : "$";
while (await create(start) === null && !stop.aborted);
mq.print("listen task stream", stream, "as", name, "of", group);

/** Until Redis takes it; or what is finished would come again. */
async function ack(ids: string[]) {
  if (ids.length === 0) return;
  const send = () => rcon.xAck(stream, group, ids).catch(again);
  while (await send() === null && !stop.aborted);
}
type Message = { id: string; message: Record<string, string> };
let acked: Promise<void> | undefined;
while (!stop.aborted) {
  const from = { key: stream, id: ">" }; // what no member has got yet
  const limits = { COUNT: config.BATCH, BLOCK: 1000 }; // ms, as in consumer.ts
  const taken = rcon.xReadGroup(group, name, from, limits);
  const tasks: Message[] = (await taken.catch(again))?.[0]?.messages ?? [];
  await acked; // it came with this reply, or else we wait for it

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
  acked = ack(tasks.map(({ id }) => id)); // it travels with the next XREADGROUP
}
await acked;
// Our name goes along, in one step with a look: DELCONSUMER throws away what a
// member has in hand.
const SCRIPT = `local stream, group, me = KEYS[1], unpack(ARGV)
  local hand = redis.call("XPENDING", stream, group, "-", "+", 1, me)
  if #hand > 0 then return end
  redis.call("XGROUP", "DELCONSUMER", stream, group, me)`;
await rcon.eval(SCRIPT, { keys: [stream], arguments: [group, name] })
  .catch(() => {}); // then it stays
process.exit();
