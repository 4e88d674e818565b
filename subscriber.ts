// Subscriber (订阅): hears every message that is published while it listens, and prints it.
//
//   Redis:    SUBSCRIBE task:pubsub:channel    https://redis.io/docs/latest/commands/subscribe/
//   Run:      npx tsx subscriber.ts            Ctrl-C ends it
//   Partner:  npx tsx publisher.ts             in another terminal, or the page of server.ts
//   Promise:  at most once: each subscriber gets each message; what is published while it is away, it never gets.

import { connect, print, retry, settings, stop } from "./config.ts";

const { REDIS_URL, CHANNEL } = settings(import.meta.url, [
  "REDIS_URL",
  "CHANNEL",
]);
const rcon = await connect(REDIS_URL, true);
stop.onabort = () => process.exit(); // nothing is in hand: a message is printed as it comes in

// The client renews the subscription by itself when the connection breaks; only the first one is ours to repeat.
const listen = () =>
  rcon.subscribe(CHANNEL, (task) => void print(`Task get ${task}`)).then(() =>
    true
  );
while (!await listen().catch(retry));
await print("listen task channel");
rcon.on(
  "ready",
  () =>
    console.error(
      "The connection was away: what was published meanwhile is missed.",
    ),
);
