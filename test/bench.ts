// Bench: how fast the scripts are, beside Python, C and bare Node.
//
//   Run:      npm run bench               about 8 minutes, on a machine that
//             does nothing else; needs redis-server on the PATH
//             npm run bench -- --only page    rows with that word in them, and
//             those they are compared with; --rounds 2 instead of 5
//             npm run bench -- --write    also puts the table in test/bench.md
//   Method:   real processes on a Redis of their own, one after the other in
//             turn. What counts is the ratio.
//             wrk, gunicorn, and python3 with redis-py and Flask are measured
//             where they are installed.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { createClient } from "../extras/cluster-client.ts";
import { bare, exec, freePort, hasRedisServer, look } from "./tools.ts";
import { names, redis, root, until } from "./tools.ts";

const { values: flags } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    rounds: { type: "string", default: "5" },
    write: { type: "boolean", default: false },
  },
});
const rounds = Number(flags.rounds);
if (!(rounds >= 1) || (flags.write && flags.only)) {
  console.error("--rounds is a number from 1; --write goes without --only");
  process.exit(2);
}
if (!hasRedisServer) {
  console.error("The bench needs redis-server on the PATH.");
  process.exit(1);
}
// As the scripts, Python writes each line at once.
process.env.PYTHONUNBUFFERED = "1";

// 1. What there is to measure with.

/** What a command prints, or "" where there is none. */
function said(command: string, ...args: string[]) {
  const stdio = ["ignore", "pipe", "ignore"] as const;
  try {
    return execFileSync(command, args, { stdio: [...stdio] }).toString().trim();
  } catch (err) {
    // `wrk --version` ends with status 1, and says it all the same.
    return String((err as { stdout?: Buffer }).stdout ?? "").trim();
  }
}
const version = (command: string) =>
  said(command, "--version").match(/\d+\.\d+[\w.]*/)?.[0] ?? "";
const ofModule = (name: string): string =>
  JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), {
    encoding: "utf8",
  })).version;
const python = ["python3", "/usr/bin/python3", "python"]
  .find((name) => said(name, "-c", "import redis; print(1)")) ?? "";
const ofPython = (name: string) =>
  python && said(
    python,
    "-c",
    `from importlib.metadata import version; print(version("${name}"))`,
  );
const versions: Record<string, string> = {
  "Node": process.versions.node,
  "redis-server": version("redis-server"),
  "node-redis": ofModule("redis"),
  "tsx": ofModule("tsx"),
  "redis-benchmark": version("redis-benchmark"),
  "wrk": version("wrk"),
  "Python": python && version(python),
  "redis-py": ofPython("redis"),
  "Flask": ofPython("flask"),
  "gunicorn": ofPython("gunicorn"),
};
const load = loadavg()[0]!;
if (load > cpus().length / 4) {
  console.error(`This machine is busy (load average ${load.toFixed(1)}).`);
}

// 2. What the scripts are compared with.

const server = await redis("redis-server");
const port = String(server.port);
// What tools.ts starts ends with the bench at the latest.
const t = { after() {} } as unknown as Parameters<typeof exec>[0];
const rcon = await look(t, server.url);
const single = { url: server.url, client: rcon };
let program: ReturnType<typeof exec> | undefined;
/** Three masters and three replicas, from the first row on that needs them. */
const cluster = () =>
  many ??= (async () => {
    const first = `redis+cluster://127.0.0.1:${await freePort()}`;
    const args = ours("extras/cluster.ts", "--redis-url", first).slice(1);
    program = exec(t, node, args);
    await program.says("Enter kills");
    const url = program.out.match(/redis\+cluster:\S+/)![0];
    const client = createClient({ url }) as unknown as typeof rcon;
    client.on("error", () => {});
    await client.connect();
    return { url, client };
  })();
let many: Promise<typeof single> | undefined;
// Lifted, but for one work: Redis's limit of what may wait for a subscriber.
const limit = (sizes: string) =>
  rcon.configSet("client-output-buffer-limit", `pubsub ${sizes}`);
await limit("0 0 0");

const dir = mkdtempSync(join(tmpdir(), "redis-mq-bench-"));
process.on("exit", () => rmSync(dir, { recursive: true, force: true }));
function temp(name: string, text: string) {
  const file = join(dir, name);
  writeFileSync(file, text);
  return file;
}

// The articles' programs in a few words.
const py = (name: string, text: string) =>
  temp(
    `${name}.py`,
    `import os, random, sys, redis
rcon = redis.StrictRedis(host="127.0.0.1", port=${port}, db=5)
${text}`,
  );
const pyConsumer = py(
  "consumer",
  `print("listen task queue")
while True:
    print("Task get", rcon.blpop(sys.argv[1], 0)[1])
`,
);
const pyProducer = py(
  "producer",
  `print("ready")
for line in sys.stdin:
    rcon.lpush(sys.argv[1], line.rstrip())
    print("lpush", sys.argv[1], line.rstrip())
`,
);
const pySubscriber = py(
  "subscriber",
  `ps = rcon.pubsub()
ps.subscribe(sys.argv[1])
print("listen task channel")
for i in ps.listen():
    if i["type"] == "message":
        print("Task get", i["data"])
`,
);
const pyPage = py(
  "page",
  `import logging
from flask import Flask, redirect
app = Flask(__name__)
@app.route("/prodcons")
def prodcons():
    elem = random.randrange(10)
    rcon.lpush(os.environ["QUEUE"], elem)
    logging.info("lpush %s", elem)
    return redirect("/")
if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]))
`,
);

// The same in Node without tsx, node-redis and zod: what the language takes.
const bareConsumer = temp(
  "consumer.mjs",
  String.raw`import { createConnection } from "node:net";
const [queue, batch] = process.argv.slice(2);
const words = batch
  ? ["BLMPOP", "1", "1", queue, "LEFT", "COUNT", batch]
  : ["BLPOP", queue, "1"];
const command = words.join(" ") + "\r\n";
const socket = createConnection(${port}, "127.0.0.1").setNoDelay();
socket.setEncoding("latin1").once("data", () => {
  process.stdout.write("listen task queue\n");
  socket.write(command);
  let reply = "";
  socket.on("data", (chunk) => {
    reply += chunk;
    const lines = reply.split("\r\n");
    // *2, $9, the queue, then *64 and each message with its length, or one.
    const first = batch ? 5 : 4;
    if (lines.length < first) return;
    const count = batch ? Number(lines[3].slice(1)) : 1;
    if (lines.length < first + 2 * count) return;
    let out = "";
    for (let i = first; i < lines.length - 1; i += 2) {
      out += "Task get " + lines[i] + "\n";
    }
    reply = "";
    process.stdout.write(out);
    socket.write(command);
  });
});
socket.write("SELECT 5\r\n");
`,
);
const barePage = temp(
  "page.mjs",
  `import { createServer } from "node:http";
createServer((req, res) => res.writeHead(302, { Location: "/" }).end())
  .listen(process.env.PORT, "127.0.0.1");
`,
);
// Without wrk; 16 connections, two seconds.
const bareClicks = temp(
  "clicks.mjs",
  `import { Agent, get } from "node:http";
const agent = new Agent({ keepAlive: true, maxSockets: 16 });
const click = () => new Promise((resolve, reject) =>
  get(process.argv[2], { agent }, (res) => res.resume().on("end", resolve))
    .on("error", reject));
const end = Date.now() + 2000;
let count = 0;
await Promise.all(Array.from({ length: 16 }, async () => {
  for (; Date.now() < end; count++) await click();
}));
console.log("Requests/sec: " + count / 2);
process.exit();
`,
);
/** Arguments of a Node that has only loaded these modules. */
const importing = (modules: string[], more = "") => [
  "--import",
  "tsx",
  temp(
    `${modules.join("-")}${more.length}.mjs`, // .mts: tsx would drop imports
    modules.map((name) =>
      `import * as ${name} from "${import.meta.resolve(name)}";\n`
    ).join("") + more + `\nconsole.log("ready");\n`,
  ),
];
const connected = "const rcon = redis.createClient({ " +
  "url: process.env.REDIS_URL }); await rcon.connect();";

// 3. How to measure. Each of these gives one figure.

const node = process.execPath;
type Command = [command: string, ...args: string[]];
const ours = (file: string, ...args: string[]): Command => [
  node,
  "--import",
  "tsx",
  file,
  ...args,
];

/** A program that is ready; from then on its lines are counted, not kept. */
async function start(
  [command, ...args]: Command,
  name: string,
  ready: string | RegExp = /\n/,
  url = server.url,
) {
  const env = { REDIS_URL: url, QUEUE: name, CHANNEL: name };
  const self = exec(t, command, args, {
    env: bare({ ...env, STREAM: name }),
  });
  if (ready) await self.says(ready, 60_000);
  let lines = 0;
  let wanted = Infinity;
  let reached = () => {};
  let failed = (_: Error) => {};
  const fail = (why: string) =>
    failed(new Error(`${args.join(" ")} ${why}: ${self.err}`));
  self.status.then((status) => fail(`ended with ${status}`));
  self.child.stdout.removeAllListeners("data").on("data", (chunk: string) => {
    for (let i = chunk.indexOf("\n"); i >= 0; i = chunk.indexOf("\n", i + 1)) {
      lines++;
    }
    if (lines >= wanted) reached();
  });
  return {
    stdin: self.child.stdin,
    pid: self.child.pid,
    count: () => lines,
    end: () => self.end("SIGKILL"),
    /** Resolves at the count-th line from now. */
    next: (count: number) =>
      new Promise<void>((resolve, reject) => {
        wanted = lines + count;
        failed = reject;
        const late = setTimeout(() => fail(`printed ${lines} lines`), 300_000);
        reached = () => {
          clearTimeout(late);
          wanted = Infinity;
          resolve();
        };
      }),
  };
}

async function timed(work: () => Promise<unknown>) {
  const from = performance.now();
  await work();
  return performance.now() - from;
}

const lists = "redis.call('LPUSH', KEYS[1], i % 10)";
const streams = "redis.call('XADD', KEYS[1], '*', 'task', i % 10)";
const fill = (queue: string, count: number, add = lists, client = rcon) =>
  client.eval(`for i = 1, ARGV[1] do ${add} end`, {
    keys: [queue],
    arguments: [String(count)],
  });

/** ms from when 50,000 messages are there, at once, to the last line. */
async function drain(
  command: Command,
  { add = lists, queues = [names().QUEUE], at = single } = {},
) {
  const consumers = await Promise.all(
    queues.map((queue) =>
      start(command.map(named(queue)) as Command, queue, /\n/, at.url)
    ),
  );
  const each = Math.floor(50_000 / queues.length);
  const printed = consumers.map((one) => one.next(each));
  for (const queue of queues) await fill(queue, each, add, at.client);
  const time = await timed(() => Promise.all(printed));
  for (const one of consumers) await one.end();
  for (const queue of queues) await at.client.unlink(queue);
  return time;
}
/** In a cluster, each lies on another master. */
const three = () => ["{a}", "{b}", "{c}"].map((tag) => tag + names().QUEUE);
const named = (name: string) => (word: string) => word === "NAME" ? name : word;

/** ms that redis-benchmark, a C client, takes. */
async function benchmark(
  count: number,
  [connections, pipeline]: [connections: number, pipeline: number],
  command: string[],
) {
  const how = `-p ${port} --dbnum 5 --csv -n ${count} -c ${connections} ` +
    `-P ${pipeline}`;
  const run = spawn("redis-benchmark", [...how.split(" "), ...command]);
  let out = "";
  for await (const chunk of run.stdout) out += chunk;
  // The last line: "LPUSH …","123456.78", …
  const rate = out.trim().split("\n").at(-1)?.match(/^".*?","([\d.]+)"/)?.[1];
  return count / Number(rate) * 1000;
}
async function benchmarkDrain(pops: number, command: string) {
  const { QUEUE } = names();
  await fill(QUEUE, 50_000);
  const words = command.split(" ").map(named(QUEUE));
  const time = await benchmark(pops, [1, 1], words);
  if (await rcon.lLen(QUEUE)) throw new Error(`${command} left messages`);
  return time;
}
async function benchmarkPush() {
  const { QUEUE } = names();
  const time = await benchmark(100_000, [50, 64], ["LPUSH", QUEUE, "100000"]);
  await rcon.unlink(QUEUE);
  return time;
}

/** p50 in ms of 1,000 messages, from a line to the producer to one printed. */
async function pushToPrint(producer: Command, consumer: Command) {
  const { QUEUE } = names();
  const [from, to] = [
    await start(producer.map(named(QUEUE)) as Command, QUEUE, ""),
    await start(consumer.map(named(QUEUE)) as Command, QUEUE),
  ];
  const times: number[] = [];
  for (let i = 0; i < 1200; i++) {
    const printed = to.next(1);
    from.stdin.write("7\n");
    times.push(await timed(() => printed));
  }
  await Promise.all([from.end(), to.end()]);
  return median(times.slice(200)); // the first ones find cold programs
}

type Subscriber = { command: Command; ready?: string; linesEach?: number };
/** Messages a second from the first publish to the last line. */
async function burst(count: number, { command, ...more }: Subscriber) {
  const { CHANNEL } = names();
  const words = command.map(named(CHANNEL)) as Command;
  const subscriber = await start(words, CHANNEL, more.ready);
  const time = await timed(() => {
    const printed = subscriber.next(count * (more.linesEach ?? 1));
    const published = benchmark(count, [8, 64], ["publish", CHANNEL, "7"]);
    return Promise.all([printed, published]);
  });
  await subscriber.end();
  return count / time * 1000;
}

/** How many of a burst arrive with the limit that Redis sets by default. */
async function arrived(command: Command) {
  const { CHANNEL } = names();
  await limit("32mb 8mb 60");
  const subscriber = await start(
    command.map(named(CHANNEL)) as Command,
    CHANNEL,
  );
  await benchmark(1_000_000, [8, 64], ["publish", CHANNEL, "7"]);
  let before = -1;
  while (before !== subscriber.count() && subscriber.count() < 1_000_000) {
    before = subscriber.count();
    await sleep(500);
  }
  await subscriber.end();
  await limit("0 0 0");
  return subscriber.count();
}

/** Requests a second, 16 connections. */
async function clicks([command, ...args]: Command, path = "/prodcons") {
  const [{ QUEUE }, PORT] = [names(), String(await freePort())];
  // What the pages print is not read: that would take a part of the machine.
  const page = spawn(command, args.map(named(`127.0.0.1:${PORT}`)), {
    env: bare({ REDIS_URL: server.url, QUEUE, PORT, PYTHONPATH: dir }),
    cwd: root,
    stdio: "ignore",
  });
  process.once("exit", () => page.kill());
  const url = `http://127.0.0.1:${PORT}${path}`;
  await until(`the page of ${args.join(" ")}`, () => {
    if (page.exitCode !== null) throw new Error(`${args.join(" ")} ended`);
    return fetch(url, { redirect: "manual" }).then(() => true, () => false);
  });
  const client = versions.wrk
    ? spawn("wrk", ["-t1", "-c16", "-d2s", url])
    : spawn(node, [bareClicks, url]);
  let out = "";
  for await (const chunk of client.stdout) out += chunk;
  page.kill();
  await once(page, "close");
  await rcon.unlink(QUEUE);
  if (out.includes("Non-2xx")) throw new Error(`${args.join(" ")}:\n${out}`);
  return Number(out.match(/Requests\/sec:\s+([\d.]+)/)?.[1]);
}

/** ms in which a producer, running already, pushes and prints 100,000 lines. */
async function push(command: Command) {
  const { QUEUE } = names();
  const producer = await start(command, QUEUE, "");
  const ready = producer.next(1);
  producer.stdin.write("first\n");
  await ready;
  const lines = Array.from({ length: 100_000 }, (_, i) => `${i + 1}\n`);
  const time = await timed(() => {
    const printed = producer.next(100_000);
    producer.stdin.end(lines.join(""));
    return printed;
  });
  const length = await rcon.lLen(QUEUE);
  if (length !== 100_001) throw new Error(`${length} were pushed`);
  await rcon.unlink(QUEUE);
  return time;
}

/** ms from the start of a process to what it prints first. */
async function startUp([command, ...args]: Command) {
  const from = performance.now();
  const { QUEUE } = names();
  const self = exec(t, command, args.map(named(QUEUE)), {
    env: bare({ REDIS_URL: server.url, QUEUE }),
  });
  await once(self.child.stdout, "data");
  const time = performance.now() - from;
  await self.end("SIGKILL");
  return time;
}

/** Resident MB of a program that waits. */
async function memory(command: Command) {
  const { QUEUE } = names();
  const program = await start(command.map(named(QUEUE)) as Command, QUEUE);
  await sleep(500);
  const status = `/proc/${program.pid}/status`;
  const kB = existsSync(status)
    ? readFileSync(status, "utf8").match(/VmRSS:\s+(\d+)/)?.[1]
    : said("ps", "-o", "rss=", "-p", String(program.pid));
  await program.end();
  return Number(kB) / 1024;
}

// 4. What is measured: each program, beside which others, and the goal.

type Row = {
  program: string;
  run: () => Promise<number>;
  /** Its figure divided by another program's: to reach, or null. */
  beside?: Record<string, number | null>;
};
type Work = { title: string; unit: string; more?: boolean; rows: Row[] };
const CONSUMER = "consumer.ts";
const BATCH = "extras/batch-consumer.ts";
const RELIABLE = "extras/reliable-consumer.ts";
const STREAM = "extras/stream-consumer.ts";
const WORKER = "extras/stream-worker.ts";
const SUBSCRIBER = "subscriber.ts";
const PRODUCER = "extras/batch-producer.ts";
const PY = "Python (redis-py)";
const FLASK = "Flask's development server";
const C = "redis-benchmark (C)";
const [C1, C64, CP] = [`${C}, BLPOP`, `${C}, BLMPOP 64`, `${C}, -P 64`];
const [BARE1, BARE64] = ["bare node:net, BLPOP", "bare node:net, BLMPOP 64"];
const GET = "server.ts, GET /: without Redis";
const ALL = "node + tsx + redis + zod";
const consumerPy: Command = [python, pyConsumer, "NAME"];
const subscriberPy: Command = [python, pySubscriber, "NAME"];
const cli: Subscriber = {
  command: ["redis-cli", "-p", port, "subscribe", "NAME"],
  ready: "1\n",
  linesEach: 3,
};
const sleeper = "console.log(1); setInterval(() => {}, 1e6)";

// A table: one program a line or two.
// deno-fmt-ignore
const works: Work[] = [
  { title: "Drain a queue of 50,000", unit: "ms", rows: [
    { program: PY, run: () => drain(consumerPy) },
    { program: CONSUMER, run: () => drain(ours(CONSUMER)),
      beside: { [PY]: 1, [BARE1]: 1.15, [C1]: null } },
    { program: BATCH, run: () => drain(ours(BATCH)),
      beside: { [PY]: 0.08, [BARE64]: null, [C64]: 4 } },
    { program: RELIABLE, run: () => drain(ours(RELIABLE)),
      beside: { [PY]: 1.5 } },
    { program: STREAM, run: () => drain(ours(STREAM), { add: streams }),
      beside: { [RELIABLE]: 1.3 } },
    { program: WORKER, run: () => drain(ours(WORKER), { add: streams }),
      beside: { [RELIABLE]: 1.3 } },
    { program: `${STREAM} --batch 64`,
      run: () => drain(ours(STREAM, "--batch", "64"), { add: streams }),
      beside: { [BATCH]: 2.5 } },
    { program: BARE1, run: () => drain([node, bareConsumer, "NAME"]) },
    { program: BARE64, run: () => drain([node, bareConsumer, "NAME", "64"]) },
    { program: C1, run: () => benchmarkDrain(50_000, "BLPOP NAME 0") },
    { program: C64, run: () =>
      benchmarkDrain(782, "BLMPOP 0 1 NAME LEFT COUNT 64") },
  ] },
  { title: "Drain 50,000 on a cluster of three masters", unit: "ms", rows: [
    { program: `${CONSUMER}, one redis-server`,
      run: () => drain(ours(CONSUMER)) },
    { program: `${CONSUMER}, a cluster`,
      run: async () => drain(ours(CONSUMER), { at: await cluster() }),
      beside: { [`${CONSUMER}, one redis-server`]: 1.2 } },
    { program: "three queues on one redis-server",
      run: () => drain(ours(CONSUMER), { queues: three() }) },
    { program: "three queues on three masters", run: async () =>
      drain(ours(CONSUMER), { queues: three(), at: await cluster() }),
      beside: { "three queues on one redis-server": null } },
  ] },
  { title: "Push to print, one message at a time, p50", unit: "ms", rows: [
    { program: PY, run: () =>
      pushToPrint([python, pyProducer, "NAME"], consumerPy) },
    { program: `${PRODUCER} and consumer.ts`,
      run: () => pushToPrint(ours(PRODUCER), ours(CONSUMER)),
      beside: { [PY]: 1.2 } },
  ] },
  { title: "One subscriber, a burst of 1,000,000 (Python: 200,000), " +
      "Redis's limit of what may wait lifted", unit: "/s", more: true, rows: [
    { program: PY, run: () => burst(200_000, { command: subscriberPy }) },
    { program: SUBSCRIBER,
      run: () => burst(1_000_000, { command: ours(SUBSCRIBER) }),
      beside: { [PY]: 4, "redis-cli (C)": null } },
    { program: "redis-cli (C)", run: () => burst(1_000_000, cli) },
  ] },
  { title: "The same burst with Redis's default limit: what arrives",
    unit: "messages", more: true, rows: [
    { program: PY, run: () => arrived(subscriberPy) },
    { program: SUBSCRIBER, run: () => arrived(ours(SUBSCRIBER)) },
  ] },
  { title: "Clicks on the page, 16 connections", unit: "/s", more: true, rows: [
    { program: FLASK, run: () => clicks([python, pyPage]) },
    { program: "gunicorn", run: () =>
      clicks([python, "-m", "gunicorn", "-b", "NAME", "page:app"]) },
    { program: "server.ts", run: () => clicks(ours("server.ts")),
      beside: { [FLASK]: 20, gunicorn: 10, [GET]: null,
        "bare node:http, no Redis": null } },
    { program: GET, run: () => clicks(ours("server.ts"), "/") },
    { program: "bare node:http, no Redis", run: () =>
      clicks([node, barePage]) },
  ] },
  { title: "Push 100,000 messages, LPUSH", unit: "ms", rows: [
    { program: PRODUCER, run: () => push(ours(PRODUCER)),
      beside: { [CP]: 3 } },
    { program: CP, run: benchmarkPush },
  ] },
  { title: "Start to ready line", unit: "ms", rows: [
    { program: PY, run: () => startUp(consumerPy) },
    { program: CONSUMER, run: () => startUp(ours(CONSUMER)),
      beside: { [ALL]: null, "node alone": null, [PY]: null } },
    { program: "node alone", run: () =>
      startUp([node, "-e", "console.log(1)"]) },
    { program: "node + tsx", run: () => startUp([node, ...importing([])]) },
    { program: ALL, run: () =>
      startUp([node, ...importing(["redis", "zod"])]) },
  ] },
  { title: "Memory of a consumer that waits", unit: "MB", rows: [
    { program: PY, run: () => memory(consumerPy) },
    { program: CONSUMER, run: () => memory(ours(CONSUMER)),
      beside: { [`${ALL}, connected`]: null } },
    { program: "node alone", run: () => memory([node, "-e", sleeper]) },
    { program: `${ALL}, connected`, run: () =>
      memory([node, ...importing(["redis", "zod"], connected)]) },
  ] },
];

/** Of what a row needs, the one that is not here. */
function missing(work: Work, { program }: Row) {
  const needs: string[] = [];
  if (program === PY) needs.push("redis-py");
  if (program === FLASK) needs.push("redis-py", "Flask");
  if (program === "gunicorn") needs.push("redis-py", "Flask", "gunicorn");
  if (program.startsWith(C) || /burst|cluster/.test(work.title)) {
    needs.push("redis-benchmark");
  }
  return needs.find((need) => !versions[need]);
}

/** Whether --only asks for a row, or for one that is compared with it. */
function wanted({ title, rows }: Work, row: Row) {
  const word = flags.only.toLowerCase();
  const asks = ({ program }: Row) =>
    `${title}: ${program}`.toLowerCase().includes(word);
  return asks(row) ||
    rows.some((other) => asks(other) && row.program in (other.beside ?? {}));
}

// 5. Measure.

function median(values: number[]) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  if (sorted.length % 2) return sorted[half]!;
  return (sorted[half - 1]! + sorted[half]!) / 2;
}

const figures = new Map<string, number[]>();
const of = (work: Work, program: string) =>
  figures.get(`${work.title}: ${program}`) ?? [];
const began = Date.now();
process.on("uncaughtException", async (err) => {
  console.error(err);
  await program?.end("SIGTERM");
  process.exit(1);
});
for (let round = 1; round <= rounds; round++) {
  for (const work of works) {
    const rows = work.rows.filter((row) =>
      wanted(work, row) && !missing(work, row)
    );
    // So that none always has the machine after the same other one.
    if (round % 2 === 0) rows.reverse();
    for (const { program, run } of rows) {
      const name = `${work.title}: ${program}`;
      const seconds = ((Date.now() - began) / 1000).toFixed(0);
      console.error(`${seconds} s, round ${round} of ${rounds}: ${name}`);
      const figure = await run();
      if (!(figure > 0)) throw new Error(`${name}: measured ${figure}`);
      figures.set(name, [...of(work, program), figure]);
    }
  }
}
await program?.end("SIGTERM"); // SIGKILL would leave its servers
await server.remove();

// 6. Tell.

const number = (value: number) =>
  value.toLocaleString(
    "en",
    value >= 100
      ? { maximumFractionDigits: 0 }
      : { maximumSignificantDigits: 2 },
  );
function measured(values: number[], unit: string) {
  const [least, most] = [Math.min(...values), Math.max(...values)].map(number);
  const range = least === most ? "" : ` (${least}–${most})`;
  return `${number(median(values))} ${unit}${range}`;
}

const missed: string[] = [];
function besides(work: Work, { program, beside = {} }: Row) {
  const mine = of(work, program);
  return Object.entries(beside).flatMap(([peer, goal]) => {
    const theirs = of(work, peer);
    if (mine.length === 0 || theirs.length === 0) return [];
    const value = median(mine) / median(theirs);
    const said = `${number(value)} × ${peer}`;
    // Without wrk our own client is slower than the page.
    const page = work.title.includes("page");
    if (goal === null || (page && !versions.wrk)) return [said];
    const met = work.more ? value >= goal : value <= goal;
    const aim = `${work.more ? "≥" : "≤"} ${goal}`;
    if (!met) missed.push(`${work.title}: ${program}: ${said}, ${aim} wanted`);
    return [`${said} (${aim} ${met ? "✓" : "✗"})`];
  }).join("; ");
}

const tools = Object.entries(versions).filter(([, found]) => found)
  .map(([name, found]) => `${name} ${found}`).join(", ");
const lines = [
  `Measured ${new Date().toISOString().slice(0, 10)}, ${rounds} rounds: ` +
  `${cpus().length} cores (${cpus()[0]?.model.trim()}), ` +
  `${Math.round(totalmem() / 2 ** 30)} GB, load average before ` +
  `${load.toFixed(1)}; ${tools}`,
  "",
  "| Work | Program | Median (min–max) | Beside it (to reach) |",
  "| --- | --- | --- | --- |",
];
for (const work of works) {
  let title = work.title;
  for (const row of work.rows.filter((row) => wanted(work, row))) {
    const not = missing(work, row);
    const figure = not
      ? `not measured: no ${not}`
      : measured(of(work, row.program), work.unit);
    const cells = [title, row.program, figure, besides(work, row)];
    lines.push(`| ${cells.join(" | ")} |`);
    title = "";
  }
}
console.log(lines.join("\n"));
for (const line of missed) console.error(`Not reached here: ${line}`);
if (flags.write) {
  const text = `# Speed

Written by \`npm run bench -- --write\`. \`0.9 × X\` is this program's figure
divided by that of X; in brackets is what it is to reach: ✓ reached, ✗ missed.
p50 is the median. Figures depend on the machine; the ratios, much less.

${lines.join("\n")}
`;
  writeFileSync(join(root, "test/bench.md"), text);
}
process.exit();
