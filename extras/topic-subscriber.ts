// Topic subscriber (主题订阅者): hears every channel whose name fits one of its
// patterns. 收听名字符合模式的所有频道。
//
//   Redis:    PSUBSCRIBE news.*    Redis 2.0
//             https://redis.io/commands/psubscribe
//   Run:      npx tsx extras/topic-subscriber.ts "news.*"    Ctrl-C ends it
//   Partner:  npx tsx publisher.ts --channel news.sport goal
//   Delivery: at most once for each pattern: a message that fits two of them
//             comes twice; what is published while it is away, it never gets.
//   Patterns: * is any text, dots too; ? one character; [ab] is a or b.

import * as mq from "../config.ts";

const { REDIS_URL, MQ_NAME } = mq;
const config = mq.settings({ REDIS_URL, MQ_NAME }, { allowPositionals: true });
const name = config.MQ_NAME;
const patterns = config.args.length > 0 ? config.args : ["*"]; // every channel
mq.stopGently().onabort = () => process.exit(); // as in subscriber.ts
const rcon = await mq.connect(config.REDIS_URL, { wait: true, name });

const listener = (task: string, channel: string) =>
  mq.print("Task get", channel, "--", task);
await rcon.pSubscribe(patterns, listener).catch(mq.fail);
mq.print("listen task channel", ...patterns, "as", name);

rcon.on("ready", () => mq.complain("Back: what came meanwhile is missed."));
