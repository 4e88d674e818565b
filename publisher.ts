// Publisher: publishes one digit, or each message. 发布者：发布随机数或消息。
//
//   Redis:    PUBLISH task:pubsub:channel 7   https://redis.io/commands/publish
//   Run:      npx tsx publisher.ts     or: npx tsx publisher.ts "news 1"
//   Partner:  npx tsx subscriber.ts    in another terminal, first
//   Delivery: at most once: only who is subscribed now gets it, nobody later.

import { randomInt } from "node:crypto";
import * as mq from "./config.ts";

const { REDIS_URL, CHANNEL } = mq;
const config = mq.settings({ REDIS_URL, CHANNEL }, { allowPositionals: true });
const rcon = await mq.connect(config.REDIS_URL);

const messages = config.args.length > 0 ? config.args : [`${randomInt(10)}`];
for (const elem of messages) {
  // 发布到频道。 To everybody who listens at this moment. (The articles
  // subscribe before they publish: PUBLISH does not need it.)
  const receivers = await rcon.publish(config.CHANNEL, elem).catch(mq.fail);
  mq.print("publish", config.CHANNEL, "--", elem, `(received by ${receivers})`);
}
rcon.destroy();
