// Topic subscriber: hears every channel whose name fits one of its patterns.
//
//   Redis:    PSUBSCRIBE news.*
//             https://redis.io/docs/latest/commands/psubscribe/
//   Run:      npx tsx extras/topic-subscriber.ts "news.*"    Ctrl-C ends it
//   Partner:  npx tsx publisher.ts --channel news.sport goal
//   Delivery: at most once for each pattern: a message that fits two of them
//             comes twice; what is published while it is away, it never gets.
//   Patterns: * is any text, dots too; ? one character; [ab] is a or b.

import { complain, connect, print, retry, settings } from "../config.ts";

const { REDIS_URL, args } = settings(["REDIS_URL"], "[pattern …]");
const patterns = args.length > 0 ? args : ["*"]; // every channel
const rcon = await connect(REDIS_URL, { wait: true });

// As in subscriber.ts: only the first time it is ours to repeat.
const hear = (task: string, channel: string) =>
  print("Task get", channel, "--", task);
while (await rcon.pSubscribe(patterns, hear).catch(retry) === null) continue;
print("listen task channel", ...patterns);

const missed =
  "The connection was away: what was published meanwhile is missed.";
rcon.on("ready", () => complain(missed)); // from now on: connected again

// If nobody reads our output, stop here: see subscriber.ts.
Reflect.get(process.stdout, "_handle")?.setBlocking?.(true);
