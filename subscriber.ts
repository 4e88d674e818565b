// Subscriber (订阅): hears what is published while it listens, and prints it.
//
//   Redis:    SUBSCRIBE task:pubsub:channel
//             https://redis.io/docs/latest/commands/subscribe/
//   Run:      npx tsx subscriber.ts    Ctrl-C ends it
//   Partner:  npx tsx publisher.ts     in another terminal, or server.ts
//   Promise:  at most once: each subscriber gets each message; what is
//             published while it is away, it never gets.

import { complain, connect, print, retry, settings } from "./config.ts";

const { REDIS_URL, CHANNEL } = settings(["REDIS_URL", "CHANNEL"]);
const rcon = await connect(REDIS_URL, { wait: true });
// As in a terminal, who does not read our lines holds us up. We would keep them
// in memory; Redis cuts us off at its limit, and we say so.
Reflect.get(process.stdout, "_handle")?.setBlocking?.(true);

// 订阅频道 When the connection breaks, node-redis subscribes again by
// itself; only the first time it is ours to repeat.
const hear = (task: string) => void print("Task get", task);
const subscribe = () => rcon.subscribe(CHANNEL, hear).then(() => "listening");
let state = null;
while (state === null) state = await subscribe().catch(retry);

print("listen task channel");
rcon.on(
  "ready",
  () =>
    complain(
      "The connection was away: what was published meanwhile is missed.",
    ),
);
