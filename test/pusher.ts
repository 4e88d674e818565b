// For failover.test.ts: pushes a number each millisecond, and says which of
// them Redis has acknowledged, and when. It uses connect() as our scripts do.

import { setTimeout as sleep } from "node:timers/promises";
import * as mq from "../config.ts";

const { REDIS_URL, QUEUE, CHANNEL } = mq;
const config = mq.settings({ REDIS_URL, QUEUE, CHANNEL });
const rcon = await mq.connect(config.REDIS_URL, { wait: true });
let stop = false;
process.on("SIGTERM", () => stop = true);

let open = 0; // sent and not answered
const send = async (word: string, task: string, sent: Promise<unknown>) => {
  open++;
  // A reply later than this is no use to anybody: not acknowledged.
  const late = sleep(15_000, null, { ref: false }).then(() => {
    throw new Error("late");
  });
  await Promise.race([sent, late]).then(
    () => mq.print(word, task, Math.round(performance.now())),
    (err) => {
      const isReplica = mq.cause(err).startsWith("READONLY");
      if (isReplica && rcon.isReady) mq.renew(rcon, err);
    },
  );
  open--;
};
mq.print("pushes");
const start = performance.now();
for (let number = 0; !stop;) {
  const due = Math.floor(performance.now() - start);
  for (; number < due; number++) {
    const task = String(number);
    send("ok", task, rcon.lPush(config.QUEUE, task));
    send("pub", task, rcon.publish(config.CHANNEL, task));
  }
  await sleep(1);
}
while (open > 0) await sleep(10);
await mq.print("end");
process.exit();
