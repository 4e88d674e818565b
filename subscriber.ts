// Subscriber: prints what is published meanwhile. 订阅者：打印此时发布的消息。
//
//   Redis:    SUBSCRIBE task:pubsub:channel
//             https://redis.io/commands/subscribe
//   Run:      npx tsx subscriber.ts    Ctrl-C ends it
//   Partner:  npx tsx publisher.ts     in another terminal, or server.ts
//   Delivery: at most once: each subscriber gets each message. What is
//             published while it is away, it never gets.

import * as mq from "./config.ts";

const { REDIS_URL, CHANNEL, MQ_NAME } = mq;
const config = mq.settings({ REDIS_URL, CHANNEL, MQ_NAME });
const name = config.MQ_NAME;
// As process 1, in Docker, we would ignore a signal without a listener.
mq.stopGently().onabort = () => process.exit();
const rcon = await mq.connect(config.REDIS_URL, { wait: true, name });

// 订阅频道。 node-redis does it again by itself after the connection broke.
const listener = (task: string) => mq.print("Task get", task);
await rcon.subscribe(config.CHANNEL, listener).catch(mq.fail); // refused: end
mq.print("listen task channel", config.CHANNEL, "as", name);

// connect() has waited for the first "ready"; each one from now on is a return.
rcon.on("ready", () => mq.complain("Back: what came meanwhile is missed."));
