// Cluster (集群): three masters and three replicas on this machine, to see one
// die. 本机上的三主三从，可以看一个主节点怎样倒下。
//
//   Redis:    redis-server 7 --cluster-enabled yes, redis-cli --cluster create
//       https://redis.io/docs/latest/operate/oss_and_stack/management/scaling/
//   Run:      npx tsx extras/cluster.ts    at ports 7001 to 7006; others with
//             --redis-url redis+cluster://127.0.0.1:7101
//             Enter kills the master that has the queue; Ctrl-C ends all
//   Partner:  every other script, with the --redis-url that it prints
//   Delivery: for learning: its files go when it ends.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { createClient } from "redis";
import * as mq from "../config.ts";

const { REDIS_URL: url, QUEUE: queue } = mq;
const { REDIS_URL, QUEUE } = mq.settings({ REDIS_URL: url, QUEUE: queue });
// The first address of a cluster's; another Redis than a cluster is not meant.
const [, host, port] = REDIS_URL.match(/\+cluster:.*[/@](.*?):(\d+)/i) ?? [];
const first = Number(port ?? 7001);
if (!/^(127\.0\.0\.1|localhost)$/.test(host ?? "localhost") || first > 55_530) {
  mq.complain(
    "--redis-url (or REDIS_URL): the cluster runs on this machine, at ports " +
      "up to 55530, as redis+cluster://127.0.0.1:7001",
  );
  process.exit(2);
}
const ports = [0, 1, 2, 3, 4, 5].map((i) => first + i);
const dir = mkdtempSync(join(tmpdir(), "redis-mq-cluster-"));
const nodes = new Map<number, ChildProcess>();
process.on("exit", () => {
  // One that could not be started has no pid: to kill it would be to kill us,
  // before the files are gone, and whoever started us.
  for (const node of nodes.values()) if (node.pid) node.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true, maxRetries: 10 });
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => process.exit());
}
function end(line: string): never {
  mq.complain(line);
  process.exit(1);
}
const missing = "needs redis-server and redis-cli 7 on the PATH: " +
  "https://redis.io/docs/latest/operate/oss_and_stack/install/";

// 1. Six servers that know nothing of each other.
function start(port: number) {
  const own = join(dir, String(port)); // what it writes
  mkdirSync(own, { recursive: true });
  const options = `--port ${port} --bind 127.0.0.1 --cluster-enabled yes ` +
    "--cluster-node-timeout 15000 --repl-diskless-sync-delay 0";
  const node = spawn(
    "redis-server",
    [...options.split(" "), "--save", "", "--dir", own],
    // Ctrl-C is for this script, which ends them.
    { stdio: ["ignore", "pipe", "ignore"], detached: true },
  );
  nodes.set(port, node);
  node.on("error", () => end(missing));
  return new Promise<void>((ready) => {
    node.stdout.on("data", (text) => {
      if (String(text).includes("Ready to accept")) ready();
    });
    node.on("exit", (status) => {
      if (status) end(`redis-server ended: is port ${port} taken?`);
    });
  });
}
await Promise.all(ports.map(start));

// 2. Three get a third of the 16,384 slots each, the others follow them.
const addresses = ports.map((port) => `127.0.0.1:${port}`);
const create = ["--cluster", "create", ...addresses];
await promisify(execFile)("redis-cli", [
  ...create,
  ...["--cluster-replicas", "1", "--cluster-yes"],
]).catch((err) => end(mq.cause(err) === "ENOENT" ? missing : mq.cause(err)));

const cli = async (port: number, ...command: string[]) =>
  (await promisify(execFile)("redis-cli", ["-p", `${port}`, ...command]))
    .stdout;
/** From now on two seconds of silence are a death; to join takes longer. */
const quicken = (port: number) =>
  cli(port, "CONFIG", "SET", "cluster-node-timeout", "2000");
await Promise.all(ports.map(quicken));

/** What a living node says about who has which slots. */
async function ask() {
  const [port] = ports.filter((port) =>
    nodes.get(port)!.exitCode === null &&
    nodes.get(port)!.signalCode === null
  );
  const client = createClient({ url: `redis://127.0.0.1:${port}` });
  await client.on("error", () => {}).connect();
  const slots = await client.clusterSlots();
  const slot = await client.clusterKeySlot(QUEUE);
  const info = await client.clusterInfo();
  client.destroy();
  const own = slots.find(({ from, to }) => from <= slot && slot <= to);
  const up = info.includes("cluster_state:ok");
  return { slots, slot, up, master: own?.master.port };
}
/** Only a replica that has everything can follow its master. */
async function isReady() {
  const infos = await Promise.all(
    now.slots.map(({ master }) => cli(master.port, "INFO", "replication")),
  );
  return now.up &&
    now.slots.every(({ replicas }, i) =>
      replicas.length > 0 && infos[i]!.includes("state=online")
    );
}
let now = await ask();
while (!await isReady()) {
  await sleep(100);
  now = await ask();
}
for (const { from, to, master, replicas } of now.slots) {
  await mq.print(
    `master at port ${master.port}, slots ${from} to ${to}; its replica: ` +
      `port ${replicas[0]!.port}`,
  );
}
await mq.print(`--redis-url redis+cluster://${addresses.slice(0, 3).join()}`);
await mq.print(
  `${QUEUE} is slot ${now.slot}, at port ${now.master}. Enter kills that one.`,
);

// 3. Enter.
for await (const _ of createInterface({ input: process.stdin })) {
  const { master } = await ask();
  const dying = nodes.get(master!)!;
  dying.kill("SIGKILL");
  await once(dying, "exit"); // or ask() might ask it, without end
  const since = performance.now();
  await mq.print(`killed port ${master}`);
  do {
    await sleep(50);
    now = await ask().catch(() => now);
  } while (now.master === master || !now.up);
  const seconds = ((performance.now() - since) / 1000).toFixed(1);
  await mq.print(
    `port ${now.master} is the master now, after ${seconds} s; ` +
      `${master} comes back as its replica`,
  );
  await start(master!);
  await quicken(master!);
}
// Without a terminal there is no Enter: it runs on until it is ended.
await new Promise(() => setInterval(() => {}, 60_000));
