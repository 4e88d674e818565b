// Start: Redis, the page, a consumer and a subscriber, in one terminal.
//
//   Redis:    all that the four of them use
//   Run:      npm start    then open the address that it prints; Ctrl-C ends it
//             npm start -- --port 3001    with the settings of its parts
//   Partner:  your browser
//   Delivery: that of each script

import { spawn } from "node:child_process";
import {
  createConcurrently,
  KillOnSignal,
  KillOthers,
  Logger,
  LogOutput,
} from "concurrently";
import * as mq from "../config.ts";

const { REDIS_URL, QUEUE, ORDER, WORK_MS, CHANNEL, MQ_HOST, PORT } = mq;
const shape = { REDIS_URL, QUEUE, ORDER, WORK_MS, CHANNEL, MQ_HOST, PORT };
const { args: _, ...all } = mq.settings(shape);
for (const [name, value] of Object.entries(all)) {
  process.env[name] = String(value); // for the parts
}

function run(parts: Record<string, string>, prefixColors: string[]) {
  const logger = new Logger({});
  const commands = Object.entries(parts);
  return createConcurrently(
    commands.map(([name, command]) => ({ name, command })),
    {
      logger,
      prefixColors,
      outputStream: process.stdout,
      controllers: [
        new LogOutput({ logger }),
        new KillOnSignal({ process }),
        new KillOthers({
          logger,
          conditions: "failure",
          killSignal: "SIGTERM",
        }),
      ],
      // Without a shell in between, a signal goes straight to the script, and
      // without `ps`, which a bare machine may lack.
      spawn: (file, options) =>
        spawn(process.execPath, ["--import", "tsx", file], options),
      kill(pid, signal) {
        try {
          process.kill(pid, signal);
        } catch (err) {
          if ((err as NodeJS.ErrnoException).code !== "ESRCH") throw err;
          // It is gone: a terminal's Ctrl-C reaches every part by itself.
        }
      },
    },
  );
}

// Redis first. Its line says that it listens, or that another one does; where
// yours is on another machine, it says so and ends with status 2.
const redis = run({ redis: "extras/redis.ts" }, ["yellow"]);
const line = new Promise((said) => redis.commands[0]!.stdout.subscribe(said));
await Promise.race([redis.result, line]).catch(([end]) => {
  if (end.exitCode !== 2) process.exit(1);
});

const others = run({
  page: "extras/board.ts",
  consumer: "consumer.ts",
  subscriber: "subscriber.ts",
}, ["cyan", "green", "magenta"]);
others.commands[0]!.stdout.subscribe((chunk) => {
  const said = String(chunk).match(/page at (\S+)/)?.[1];
  // With --host 0.0.0.0 its other lines are what others open.
  const address = said?.replace("0.0.0.0", "127.0.0.1");
  if (address) mq.print(`Open ${address} in your browser. To end: Ctrl-C`);
});
await others.result.catch(() => {
  process.exitCode = 1; // the part that failed has said why
});
// Redis last. A script in it that never ends would keep it from ending.
redis.commands[0]!.kill("SIGTERM");
setTimeout(() => redis.commands[0]!.kill("SIGKILL"), 2000).unref();
