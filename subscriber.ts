// Subscriber (订阅者): prints what is published while it listens.
//
//   Redis:    SUBSCRIBE task:pubsub:channel
//             https://redis.io/docs/latest/commands/subscribe/
//   Run:      npx tsx subscriber.ts    Ctrl-C ends it
//   Partner:  npx tsx publisher.ts     in another terminal, or server.ts
//   Delivery: at most once: each subscriber gets each message; what is
//             published while it is away, it never gets.

import { complain, connect, print, retry, settings } from "./config.ts";

const { REDIS_URL, CHANNEL } = settings(["REDIS_URL", "CHANNEL"]);
const rcon = await connect(REDIS_URL, { wait: true });

// 订阅频道 The first subscription is ours to repeat: retry gives null.
// Then node-redis subscribes again by itself after the connection was away.
const hear = (task: string) => void print("Task get", task);
while (await rcon.subscribe(CHANNEL, hear).catch(retry) === null);
print("listen task channel");

const missed =
  "The connection was away: what was published meanwhile is missed.";
rcon.on("ready", () => complain(missed)); // from now on: connected again

// Who does not read our lines holds us up, as a terminal does; otherwise they
// would fill our memory. At its limit Redis cuts us off, and we say so.
Reflect.get(process.stdout, "_handle")?.setBlocking?.(true);
