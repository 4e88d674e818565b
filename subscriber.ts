// Subscriber: prints what is published meanwhile. 订阅者：打印此时发布的消息。
//
//   Redis:    SUBSCRIBE task:pubsub:channel
//             https://redis.io/docs/latest/commands/subscribe/
//   Run:      npx tsx subscriber.ts    Ctrl-C ends it
//   Partner:  npx tsx publisher.ts     in another terminal, or server.ts
//   Delivery: at most once: each subscriber gets each message. What is
//             published while it is away, it never gets.

import * as mq from "./config.ts";

const { REDIS_URL, CHANNEL, MQ_NAME } = mq;
const config = mq.settings({ REDIS_URL, CHANNEL, MQ_NAME });
const name = config.MQ_NAME;
mq.stopGently().onabort = () => process.exit(); // else no Ctrl-C in Docker
const rcon = await mq.connect(config.REDIS_URL, { wait: true, name });

// 订阅频道。 Again until it works: null is what `recover` gives after an error.
// When the connection breaks later, node-redis subscribes anew by itself.
const subscribe = () =>
  rcon.subscribe(config.CHANNEL, (task) => mq.print("Task get", task));
while (await subscribe().catch((err) => mq.recover(err, rcon)) === null);
mq.print("listen task channel", config.CHANNEL, "as", name);

rcon.on("ready", () => mq.complain("Back: what came meanwhile is missed."));
