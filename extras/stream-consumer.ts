// Stream consumer: a member of a group. Each group gets all, its members share.
//
//   Redis:    XREADGROUP GROUP workers ID … STREAMS task:stream >, XACK
//             https://redis.io/docs/latest/commands/xreadgroup/
//   Run:      npx tsx extras/stream-consumer.ts    or with: --group audit
//   Partner:  npx tsx extras/stream-producer.ts    before or after
//   Promise:  at least once for each group, while the stream keeps it: what
//             MAXLEN cuts off, a slow group loses, in hand or not. What a dead
//             member had in hand, another takes over after LEASE_MS. Work that
//             fails (FAIL is in the message) is tried again then; after TRIES
//             it is put aside, into the stream task:stream:dead:workers.
//   Beware:   XGROUP DELCONSUMER throws away what that member has in hand.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { RESP_TYPES } from "redis";
import { cause, complain, connect, print, retry } from "../config.ts";
import { schema, settings, stopGently } from "../config.ts";

// One by one unless told: what one has in hand, the others don't get.
schema.shape.BATCH = schema.shape.BATCH.unwrap().default(1)
  .describe("messages that it takes at once, at most");
const { REDIS_URL, STREAM, GROUP, FROM, TRIES, WORK_MS, LEASE_MS, BATCH } =
  // deno-fmt-ignore
  settings(["REDIS_URL", "STREAM", "GROUP", "FROM", "TRIES", "WORK_MS",
    "LEASE_MS", "BATCH"]);
// Bytes, and a message's fields in a row: name, value, name, value …
const rcon = (await connect(REDIS_URL, { wait: true })).withTypeMapping({
  [RESP_TYPES.BLOB_STRING]: Buffer,
  [RESP_TYPES.MAP]: Array,
});
const stop = stopGently();
const me = randomUUID();

const create = (from: string) =>
  rcon.xGroupCreate(STREAM, GROUP, from, { MKSTREAM: true })
    .catch((err) => cause(err).startsWith("BUSYGROUP") ? "there" : retry(err));
async function again(err: unknown) {
  if (!cause(err).startsWith("NOGROUP")) return await retry(err);
  complain(`Group ${GROUP} is gone: it begins again, with all there is.`);
  await create("0"); // rather twice than never
  return null;
}
let state = null;
while (state === null) state = await create(FROM === "first" ? "0" : "$");
print("listen task stream");

type Message = { id: Buffer; message: Buffer[] };
const text = ({ message }: Message) =>
  message.length === 2 ? String(message[1]) : message.join(" ");
async function read() {
  const from = { key: STREAM, id: ">" }; // what no member has got yet
  const limits = { COUNT: BATCH, BLOCK: 500 };
  const reply = await rcon.xReadGroup(GROUP, me, from, limits);
  return (reply?.[0]?.messages ?? []) as unknown as Message[];
}

/** One message that some member has had for longer than LEASE_MS. */
let due = 0;
async function takeOver() {
  const range = ["-", "+", 1, { IDLE: LEASE_MS }] as const;
  const [old] = await rcon.xPendingRange(STREAM, GROUP, ...range);
  if (!old) {
    due = performance.now() + LEASE_MS / 4;
    return [];
  }
  // Unless another was faster; each time counts as a try.
  const claimed = await rcon.xClaim(STREAM, GROUP, me, LEASE_MS, old.id);
  const [task] = claimed as unknown as (Message | null)[];
  if (!task) return [];
  if (old.deliveriesCounter < TRIES) return [task];

  const add = ["XADD", `${STREAM}:dead:${GROUP}`, "*", ...task.message];
  await rcon.multi().addCommand(add).xAck(STREAM, GROUP, task.id).exec();
  await print("Task dead", text(task), `(after ${TRIES} tries)`);
  return [];
}

// What we work on stays young, so that nobody takes it over: we live.
let hand: Buffer[] = [];
setInterval(() => {
  if (hand.length === 0) return;
  rcon.xClaimJustId(STREAM, GROUP, me, 0, hand).catch(again);
}, LEASE_MS / 4);

let acked: Promise<unknown> | undefined;
while (!stop.aborted) {
  const taken = performance.now() > due ? takeOver() : read();
  const tasks = await taken.catch(again) ?? [];
  hand = tasks.map(({ id }) => id);

  let printed;
  const done = [];
  for (const task of tasks) {
    printed = print("Task get", text(task));
    if (WORK_MS > 0) await sleep(WORK_MS);
    const fails = text(task).includes("FAIL");
    if (!fails) done.push(task.id);
    if (fails) printed = print("Task failed", text(task));
    else if (WORK_MS > 0) printed = print("Task done", text(task));
  }
  await printed;
  hand = [];
  if (done.length > 0) acked = rcon.xAck(STREAM, GROUP, done).catch(again);
}
await acked;
process.exit();
