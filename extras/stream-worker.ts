// Stream worker (可靠的流消费者): a stream consumer with takeover, retries and
// dead letters. 接管崩溃成员的消息，失败的重试，多次失败的放进死信流。
//
//   Redis:    XPENDING task:stream workers IDLE 10000 - + 1, then XCLAIM
//             https://redis.io/docs/latest/commands/xclaim/    Redis 6.2
//   Run:      npx tsx extras/stream-worker.ts    also beside stream-consumer.ts
//   Partner:  npx tsx extras/stream-producer.ts 7 FAIL 8
//   Delivery: at least once for each group, unless MAXLEN cuts it off. What a
//             dead member had in hand, another takes over after LEASE_MS; also
//             what stream-consumer.ts works on for longer. Work that fails
//             (FAIL is in the message) is tried again then; after TRIES it goes
//             to the dead letters, the stream task:stream:dead:workers.
//   Dead:     No bound but Redis's memory. The oldest one, once more (of its
//             fields, those you name), and then no more among the dead:
//               redis-cli -n 5 XRANGE task:stream:dead:workers - + COUNT 1
//               redis-cli -n 5 XADD task:stream '*' task 'order 1001'
//               redis-cli -n 5 XDEL task:stream:dead:workers ID
//   Beware:   XGROUP DELCONSUMER throws away what that member has in hand. On a
//             cluster braces keep both streams together: --stream "{task}".

import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import * as mq from "../config.ts";

const { REDIS_URL, WORK_MS, MQ_NAME } = mq;
const STREAM = mq.text.default("task:stream").describe("the stream");
const MQ_GROUP = mq.text.default("workers").describe("each group gets it all");
const FROM = z.enum(["first", "new"], "must be first or new").default("first")
  .describe("where a group begins that did not exist");
const TRIES = mq.whole(1, 1000).default(3)
  .describe("tries until it is a dead letter");
const LEASE_MS = mq.whole(1000, 3_600_000).default(10_000)
  .describe("when another takes up what a crashed one had in hand, in ms");
const all = { REDIS_URL, STREAM, MQ_GROUP, FROM, TRIES, WORK_MS, LEASE_MS };
const config = mq.settings({ ...all, MQ_NAME });
const { STREAM: stream, MQ_GROUP: group, MQ_NAME: name } = config;
const rcon = await mq.connect(config.REDIS_URL, { wait: true, name });
const stop = mq.stopGently();

// A full Redis deletes by its policy.
const memory = await rcon.info("memory").then(String, () => "");
const policy = memory.match(/maxmemory_policy:(?!noeviction)(\S+)/)?.[1];
if (policy) mq.complain(`A full Redis deletes whole streams: ${policy}`);

// As in stream-consumer.ts.
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

type Message = { id: string; message: Record<string, string> };
async function read(): Promise<Message | undefined> {
  const from = { key: stream, id: ">" }; // what no member has got yet
  const reply = rcon.xReadGroup(group, name, from, { COUNT: 1, BLOCK: 1000 });
  return (await reply)?.[0]?.messages[0];
}
function text({ message }: Message) {
  const fields = Object.entries(message);
  return fields.length === 1 ? fields[0]![1] : fields.flat().join(" ");
}

/** One message that some member has had for longer than LEASE_MS. */
let due = 0; // when to look again; at once, as long as there is one
async function takeOver() {
  const range = ["-", "+", 1, { IDLE: config.LEASE_MS }] as const;
  const [old] = await rcon.xPendingRange(stream, group, ...range);
  if (!old) due = performance.now() + config.LEASE_MS / 4;
  if (!old) return null;
  // Nothing, if another was faster. Each XCLAIM counts as a try.
  const claimed = rcon.xClaim(stream, group, name, config.LEASE_MS, old.id);
  const [task] = await claimed;
  if (task && old.deliveriesCounter >= config.TRIES) return putAside(task);
  return task;
}

// Redis runs each of these as one step.
// If it is still ours, copy it, acknowledge it. If XADD fails this ends, and
// the message stays in hand; MULTI would go on with XACK, and lose it.
const BURY = `local stream, dead, group, me, id = KEYS[1], KEYS[2], unpack(ARGV)
  if #redis.call("XPENDING", stream, group, id, id, 1, me) == 0 then return end
  local fields = redis.call("XRANGE", stream, id, id)[1][2]
  redis.call("XADD", dead, "*", unpack(fields))
  return redis.call("XACK", stream, group, id)`;
// If we have nothing in hand, our name goes along with us.
const LEAVE = `local stream, group, me = KEYS[1], unpack(ARGV)
  local hand = redis.call("XPENDING", stream, group, "-", "+", 1, me)
  if #hand > 0 then return end
  redis.call("XGROUP", "DELCONSUMER", stream, group, me)`;

async function putAside(task: Message) {
  const keys = [stream, `${stream}:dead:${group}`];
  const put = rcon.eval(BURY, { keys, arguments: [group, name, task.id] });
  const state = await put.catch((err) =>
    mq.complain(`No dead letter in ${keys[1]} yet: ${mq.cause(err)}`)
  );
  const tries = `(after ${config.TRIES} tries)`;
  if (state) await mq.print("Task dead", text(task), tries);
}

// What we work on stays young, so that nobody takes it over: XCLAIM by us
// begins its idle time anew; with JUSTID it counts no try.
let hand = "";
setInterval(() => {
  if (hand) rcon.xClaimJustId(stream, group, name, 0, hand).catch(again);
}, config.LEASE_MS / 4);

/** Until Redis takes it; or what is finished would come again. */
async function ack(id: string) {
  const send = () => rcon.xAck(stream, group, id).catch(again);
  while (await send() === null && !stop.aborted);
}
let acked: Promise<void> | undefined;
while (!stop.aborted) {
  const taken = performance.now() > due ? takeOver() : read();
  const task = await taken.catch(again);
  await acked; // it came with this reply, or else we wait for it
  hand = task?.id ?? "";
  if (!task) continue;

  await mq.print("Task get", text(task));
  if (config.WORK_MS > 0) await sleep(config.WORK_MS);
  const fails = text(task).includes("FAIL");
  if (fails) await mq.print("Task failed", text(task));
  else if (config.WORK_MS > 0) await mq.print("Task done", text(task));
  // What fails gets no XACK: it comes again after LEASE_MS.
  if (fails) hand = "";
  else acked = ack(task.id);
}
await acked;
await rcon.eval(LEAVE, { keys: [stream], arguments: [group, name] })
  .catch(() => {}); // then it stays
process.exit();
