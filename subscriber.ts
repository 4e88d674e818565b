// Subscriber (订阅者): prints what is published while it listens.
//
//   Redis:    SUBSCRIBE task:pubsub:channel
//             https://redis.io/docs/latest/commands/subscribe/
//   Run:      npx tsx subscriber.ts    Ctrl-C ends it
//   Partner:  npx tsx publisher.ts     in another terminal, or server.ts
//   Delivery: at most once: each subscriber gets each message. What is
//             published while it is away, it never gets.

import { complain, connect, print, retry, settings } from "./config.ts";

const { REDIS_URL, CHANNEL } = settings(["REDIS_URL", "CHANNEL"]);
const rcon = await connect(REDIS_URL, { wait: true });

// 订阅频道。 Repeated while it gives null, which is what retry gives. When
// the connection breaks later, node-redis subscribes again by itself.
const hear = (task: string) => print("Task get", task);
while (await rcon.subscribe(CHANNEL, hear).catch(retry) === null) continue;
print("listen task channel");

const missed =
  "The connection was away: what was published meanwhile is missed.";
rcon.on("ready", () => complain(missed)); // each time that it is back

// While nobody reads our output, a write has to block us (as in a terminal), or
// the lines would fill our memory; if it lasts, Redis cuts us off. Only this
// private switch of Node does that.
Reflect.get(process.stdout, "_handle")?.setBlocking?.(true);
