// Publisher (发布): publishes one random digit, or each message given as an argument, on the channel.
//
//   Redis:    PUBLISH task:pubsub:channel 7    https://redis.io/docs/latest/commands/publish/
//   Run:      npx tsx publisher.ts             or: npx tsx publisher.ts "news 1" "news 2"
//   Partner:  npx tsx subscriber.ts            in another terminal, before: a message that nobody hears is gone
//   Promise:  at most once: everybody who is subscribed at this moment gets it. Nothing is kept.

import { randomInt } from "node:crypto";
import { connect, fail, print, settings } from "./config.ts";

const { REDIS_URL, CHANNEL, args } = settings(import.meta.url, [
  "REDIS_URL",
  "CHANNEL",
], "[message …]");
const rcon = await connect(REDIS_URL, false);

for (const elem of args.length ? args : [String(randomInt(10))]) {
  // The articles' publisher subscribes to its own channel before it publishes. It need not: PUBLISH is enough.
  const receivers = await rcon.publish(CHANNEL, elem).catch(fail);
  await print(`publish ${CHANNEL} -- ${elem} (received by ${receivers})`);
}
rcon.destroy();
