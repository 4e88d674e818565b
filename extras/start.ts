// The whole tutorial in one terminal: a Redis if none answers, the page, one consumer and one subscriber.
//
//   Redis:    all that the four of them use
//   Run:      npm start                      then open the page's address; Ctrl-C ends all of it
//             npm start -- --port 3001       with the settings of its parts
//   Partner:  your browser
//   Promise:  that of each script

import { spawn } from "node:child_process";
import {
  createConcurrently,
  KillOnSignal,
  KillOthers,
  Logger,
  LogOutput,
} from "concurrently";
import { settings } from "../config.ts";

const { args: _, ...all } = settings(import.meta.url, [
  "REDIS_URL",
  "QUEUE",
  "ORDER",
  "WORK_MS",
  "CHANNEL",
  "HOST",
  "PORT",
]);
for (const [name, value] of Object.entries(all)) {
  process.env[name] = String(value); // for the parts
}

const run = (parts: Record<string, string>, prefixColors: string[]) => {
  const logger = new Logger({});
  return createConcurrently(
    Object.entries(parts).map(([name, command]) => ({ name, command })),
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
      // Without a shell in between, and without `ps`, which a bare machine may lack, a signal goes straight to the script.
      spawn: (file, options) =>
        spawn(process.execPath, ["--import", "tsx", file], options),
      kill(pid, signal) {
        try {
          process.kill(pid, signal);
        } catch {} // it is gone already: Ctrl-C in a terminal reaches every part by itself
      },
    },
  );
};

// Redis first: its line says that it listens, that another one does already, or (status 2) that yours is on another machine.
const redis = run({ redis: "extras/redis.ts" }, ["yellow"]);
await Promise.race([
  redis.result,
  new Promise((line) => redis.commands[0]!.stdout.subscribe(line)),
]).catch(([end]) => end.exitCode === 2 || process.exit(1));
const others = run({
  page: "server.ts",
  consumer: "consumer.ts",
  subscriber: "subscriber.ts",
}, ["cyan", "green", "magenta"]);
await others.result.catch(() => {
  process.exitCode = 1;
}); // the part that failed has said why
redis.commands[0]!.kill("SIGTERM");
