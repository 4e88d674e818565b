// Stream worker: a stream consumer with takeover, retries and dead letters.
//
//   Redis:    XPENDING task:stream workers IDLE 10000 - + 1, then XCLAIM
//             https://redis.io/docs/latest/commands/xclaim/
//   Run:      npx tsx extras/stream-worker.ts    also beside stream-consumer.ts
//   Partner:  npx tsx extras/stream-producer.ts 7 FAIL 8
//   Delivery: at least once for each group, unless MAXLEN cuts it off. What a
//             dead member had in hand, another takes over after LEASE_MS; also
//             what stream-consumer.ts works on for longer. Work that fails
//             (FAIL is in the message) is tried again then; after TRIES it goes
//             to the dead letters, the stream task:stream:dead:workers.
//   Beware:   XGROUP DELCONSUMER throws away what that member has in hand. On a
//             cluster braces keep both streams together: --stream "{task}".

import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import * as mq from "../config.ts";

const { REDIS_URL, WORK_MS, MQ_NAME } = mq;
const config = mq.settings({
  REDIS_URL,
  STREAM: mq.text.default("task:stream").describe("the stream"),
  MQ_GROUP: mq.text.default("workers").describe("each group gets it all"),
  FROM: z.enum(["first", "new"], "must be first or new").default("first")
    .describe("where a group begins that did not exist"),
  TRIES: mq.whole(1, 1000).default(3)
    .describe("tries until it is a dead letter"),
  WORK_MS,
  LEASE_MS: mq.whole(1000, 3_600_000).default(10_000)
    .describe("when another takes up what a crashed one had in hand, in ms"),
  MQ_NAME,
});
const { STREAM, MQ_GROUP: GROUP, TRIES, LEASE_MS, MQ_NAME: me } = config;
const rcon = await mq.connect(config.REDIS_URL, { wait: true, name: me });
const stop = mq.stopGently();

// As in stream-consumer.ts.
const create = (from: string) =>
  rcon.xGroupCreate(STREAM, GROUP, from, { MKSTREAM: true })
    .catch((err) =>
      mq.cause(err).startsWith("BUSYGROUP") ? "there" : mq.retry(err, rcon)
    );
async function again(err: unknown) {
  if (!mq.cause(err).startsWith("NOGROUP")) return await mq.retry(err, rcon);
  mq.complain(`Group ${GROUP} is gone: it begins again, with all there is.`);
  await create("0"); // rather twice than never
  return null;
}
while (
  await create(config.FROM === "first" ? "0" : "$") === null && !stop.aborted
);
mq.print("listen task stream", STREAM, "as", me, "of", GROUP);

type Message = { id: string; message: Record<string, string> };
async function read(): Promise<Message | undefined> {
  const from = { key: STREAM, id: ">" }; // what no member has got yet
  const reply = rcon.xReadGroup(GROUP, me, from, { COUNT: 1, BLOCK: 1000 });
  return (await reply)?.[0]?.messages[0];
}
function text({ message }: Message) {
  const fields = Object.entries(message);
  return fields.length === 1 ? fields[0]![1] : fields.flat().join(" ");
}

/** One message that some member has had for longer than LEASE_MS. */
let due = 0; // when to look again; at once, as long as there is one
async function takeOver() {
  const range = ["-", "+", 1, { IDLE: LEASE_MS }] as const;
  const [old] = await rcon.xPendingRange(STREAM, GROUP, ...range);
  if (!old) due = performance.now() + LEASE_MS / 4;
  if (!old) return null;
  // Nothing, if another was faster. Each XCLAIM counts as a try.
  const [task] = await rcon.xClaim(STREAM, GROUP, me, LEASE_MS, old.id);
  if (task && old.deliveriesCounter >= TRIES) return await putAside(task);
  return task;
}

// Redis runs this as one step: if it is still ours, copy it, acknowledge it.
// If XADD fails this ends, and the message stays in hand; MULTI would go on
// with XACK, and lose it.
const SCRIPT = `local stream, group, me, id = KEYS[1], unpack(ARGV)
  if #redis.call("XPENDING", stream, group, id, id, 1, me) == 0 then return end
  local fields = redis.call("XRANGE", stream, id, id)[1][2]
  redis.call("XADD", KEYS[2], "*", unpack(fields))
  return redis.call("XACK", stream, group, id)`;
async function putAside(task: Message) {
  const keys = [STREAM, `${STREAM}:dead:${GROUP}`];
  const put = rcon.eval(SCRIPT, { keys, arguments: [GROUP, me, task.id] });
  const state = await put.catch((err) =>
    mq.complain(`No dead letter in ${keys[1]} yet: ${mq.cause(err)}`)
  );
  if (state) await mq.print("Task dead", text(task), `(after ${TRIES} tries)`);
}

// What we work on stays young, so that nobody takes it over: XCLAIM by us
// begins its idle time anew; with JUSTID it counts no try.
let hand = "";
setInterval(() => {
  if (hand) rcon.xClaimJustId(STREAM, GROUP, me, 0, hand).catch(again);
}, LEASE_MS / 4);

let acked: Promise<unknown> | undefined;
while (!stop.aborted) {
  const taken = performance.now() > due ? takeOver() : read();
  const task = await taken.catch(again);
  if (!task) continue;

  hand = task.id;
  await mq.print("Task get", text(task));
  if (config.WORK_MS > 0) await sleep(config.WORK_MS);
  const fails = text(task).includes("FAIL");
  if (fails) await mq.print("Task failed", text(task));
  else if (config.WORK_MS > 0) await mq.print("Task done", text(task));
  hand = "";
  // What fails gets no XACK: it comes again after LEASE_MS.
  if (!fails) acked = rcon.xAck(STREAM, GROUP, task.id).catch(again);
}
await acked;
process.exit();
