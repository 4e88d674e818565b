// Breaks that nobody announces, planned failovers, hostile servers and
// messages.

import assert from "node:assert/strict";
import { connect as dial, createServer, type Socket } from "node:net";
import { describe, test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  atOnce,
  connections,
  kinds,
  look,
  names,
  noRedisServer,
  onEachRedis,
  type Program,
  redis,
  script,
  until,
} from "../tools.ts";

const consumers = [
  "consumer.ts",
  "extras/reliable-consumer.ts",
  "extras/batch-consumer.ts",
];
const waiting = [...consumers, "subscriber.ts", "server.ts"];
const posix = process.platform === "win32" && "needs POSIX signals";

/** A network between scripts and Redis. It can swallow all, and lead anew. */
async function network(t: TestContext, to: number) {
  const self = { port: 0, to, swallows: false };
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = dial(self.to, "127.0.0.1");
    let lost = false; // what was swallowed once does not go on later
    for (const [from, into] of [[near, far], [far, near]] as const) {
      sockets.add(from);
      from.on("error", () => {});
      from.on("close", () => {
        sockets.delete(from);
        if (!self.swallows) into.destroy();
      });
      from.on("data", (chunk) => {
        lost ||= self.swallows;
        if (!lost) into.write(chunk);
      });
    }
  }).listen(0, "127.0.0.1");
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await until("the network", () => server.listening);
  self.port = (server.address() as { port: number }).port;
  return self;
}

/** Sends something that each script shows, and waits until it is shown. */
async function works(
  one: { file: string; self: Program; QUEUE: string; CHANNEL: string },
  client: Awaited<ReturnType<typeof look>>,
  what: string,
) {
  if (one.file === "server.ts") {
    const address = one.self.out.match(/http:\S+/)![0];
    await until("a click", async () => {
      const click = fetch(address + "prodcons", { redirect: "manual" });
      return (await click).status === 302;
    });
  } else if (one.file === "subscriber.ts") {
    await until("the subscriber", async () => {
      await client.publish(one.CHANNEL, what);
      return one.self.tasks.includes(what);
    });
  } else {
    await client.lPush(one.QUEUE, what);
    await one.self.says(`Task get ${what}`);
  }
}

async function startAll(t: TestContext, url: string) {
  const all = waiting.map((file) => {
    const e = { REDIS_URL: url, ...names(), PORT: "0" };
    return { file, ...e, self: script(t, file, [], e) };
  });
  for (const { self } of all) await self.says(/listen|page at/);
  return all;
}

onEachRedis("breaks", (get, kind) => {
  test("a network that swallows everything is announced within 5 s, and forgotten within 5 s of its return", async (t) => {
    const client = await look(t, get().url);
    const net = await network(t, get().port);
    const all = await startAll(t, `redis://127.0.0.1:${net.port}/5`);
    for (const one of all) await works(one, client, "before");
    for (let round = 1; round <= 2; round++) {
      net.swallows = true;
      await Promise.all(all.map(async ({ self, file }) => {
        await until(
          `${file} to notice; it said ${self.err}`,
          () => self.err.split(": no answer").length > round,
          5500,
        );
      }));
      net.swallows = false;
      await Promise.all(all.map(async ({ self, file }) => {
        await until(
          `${file} to be back; it said ${self.err}`,
          () => self.err.split("Redis is there.").length > round,
          5500,
        );
      }));
      for (const one of all) await works(one, client, `return ${round}`);
    }
    for (const { self, file } of all) {
      const lines = self.err.split("\n").filter((line) =>
        !line.startsWith("Back: ")
      );
      const each = 2 * 2; // away and there, twice
      assert.equal(lines.length, each * connections(file) + 1, self.err);
    }
  });

  test("a one-shot script gives the same network up in a few seconds", async (t) => {
    const net = await network(t, get().port);
    const e = { REDIS_URL: `redis://127.0.0.1:${net.port}/5`, ...names() };
    const producer = script(t, "extras/batch-producer.ts", [], e);
    producer.child.stdin.write("first\n");
    await producer.says("-- first");
    net.swallows = true;
    producer.child.stdin.write("second\n");
    const before = performance.now();
    assert.equal(await producer.status, 1);
    assert.ok(performance.now() - before < 7000);
    assert.match(producer.err, /^Cannot use Redis at .*: no answer\n$/);
    assert.deepEqual(producer.lines.length, 1);
  });

  test(
    "no alarm when Redis is slow for 2 s, nor when the scripts are held up for 6 s, and nothing is lost",
    {
      skip: posix,
    },
    async (t) => {
      const server = await redis(kind);
      t.after(() => server.remove());
      const client = await look(t, server.url);
      const all = await startAll(t, server.url);
      for (const one of all) await works(one, client, "before");
      server.process.child.kill("SIGSTOP");
      await sleep(2000); // this is what is tested, not a wait for something
      server.process.child.kill("SIGCONT");
      for (const one of all) await works(one, client, "after slow");
      // As by Ctrl-Z and fg. Blocked in BLPOP, they get what is pushed
      // meanwhile.
      for (const { self } of all) self.child.kill("SIGSTOP");
      const held = all.filter(({ file }) => consumers.includes(file));
      for (const { QUEUE } of held) await client.lPush(QUEUE, ["h 1", "h 2"]);
      await sleep(6000);
      for (const { self } of all) self.child.kill("SIGCONT");
      for (const { self } of held) {
        await self.says("h 1");
        await self.says("h 2");
      }
      for (const one of all) await works(one, client, "after held up");
      for (const { self, file } of all) assert.equal(self.err, "", file);
    },
  );
});

test("a Redis that hangs for 8 s is told once, and so is its return", {
  skip: posix || noRedisServer,
}, async (t) => {
  const server = await redis("redis-server");
  t.after(() => server.remove());
  const client = await look(t, server.url);
  const e = { REDIS_URL: server.url, ...names() };
  const three = [1, 2, 3].map(() => script(t, "consumer.ts", [], e));
  for (const self of three) await self.says("listen");
  server.process.child.kill("SIGSTOP");
  await sleep(8400); // this is what is tested, not a wait for something
  server.process.child.kill("SIGCONT");
  for (const self of three) await self.says("Redis is there.");
  // A second alarm would come with the first PINGs, behind the first BLPOP.
  const pings = async () =>
    Number((await client.info("commandstats")).match(/ping:calls=(\d+)/)?.[1]);
  const before = await pings();
  await until("five PINGs of each", async () => await pings() >= before + 15);
  for (const self of three) {
    assert.match(self.err, /^Waiting .*: no answer\nRedis is there.\n$/);
  }
});

describe("no for the time being", {
  skip: noRedisServer,
  concurrency: atOnce,
}, () => {
  test("a planned failover behind one address: consumers, subscriber and page go on with the new master", async (t) => {
    const [old, fresh] = [
      await redis("redis-server"),
      await redis("redis-server"),
    ];
    t.after(() => Promise.all([old.remove(), fresh.remove()]));
    const [first, second] = [await look(t, old.url), await look(t, fresh.url)];
    await second.sendCommand(["REPLICAOF", "127.0.0.1", String(old.port)]);
    await until(
      "the replica",
      async () =>
        (await second.info("replication")).includes("master_link_status:up"),
    );
    const net = await network(t, old.port);
    const all = await startAll(t, `redis://127.0.0.1:${net.port}/5`);
    for (const one of all) await works(one, first, "before");

    net.to = fresh.port;
    await second.sendCommand(["REPLICAOF", "NO", "ONE"]);
    await first.sendCommand(["REPLICAOF", "127.0.0.1", String(fresh.port)]);
    for (const one of all) await works(one, second, "after");
    for (const { self, file } of all) {
      assert.equal(self.child.exitCode, null, file);
      // One line, and the subscriber's that it may have missed something.
      const said = self.err.split("\n").slice(0, -1);
      assert.ok(said.length <= (file === "subscriber.ts" ? 3 : 1), self.err);
    }
  });

  test("on a Redis that is full, or a replica, a producer ends with one line, and consumers say it once and go on later", async (t) => {
    const server = await redis("redis-server");
    t.after(() => server.remove());
    const e = { REDIS_URL: server.url, ...names() };
    const client = await look(t, server.url);
    await client.lPush(e.QUEUE, "waits");
    await client.configSet("maxmemory", "1");
    for (const file of ["producer.ts", "extras/batch-producer.ts"]) {
      const producer = script(t, file, [], e);
      producer.child.stdin.end("a\nb\n");
      assert.equal(await producer.status, 1);
      assert.match(producer.err, /^Cannot use Redis: OOM .*\n$/);
      assert.equal(producer.out, "");
    }
    const reliable = script(t, "extras/reliable-consumer.ts", [], e);
    await reliable.says(/^Waiting for Redis at \S+: OOM .*\n/m);
    await until("more tries", async () =>
      Number(
        (await client.info("errorstats")).match(/errorstat_OOM:count=(\d+)/)
          ?.[1],
      ) > 5);
    const said = reliable.err.split("\n").slice(0, -1);
    assert.ok(said.length <= connections("reliable"), reliable.err);
    await client.configSet("maxmemory", "0");
    await reliable.says("Task get waits");
    assert.equal(await reliable.end(), 0);

    await client.sendCommand(["REPLICAOF", "127.0.0.1", "1"]);
    const consumer = script(t, "consumer.ts", [], e);
    await consumer.says(/^Waiting for Redis at \S+: READONLY .*\n/m);
    await client.sendCommand(["REPLICAOF", "NO", "ONE"]);
    await client.lPush(e.QUEUE, "later");
    await consumer.says("Task get later");
    assert.equal(consumer.err.split("\n").length, 2, consumer.err);
  });
});

test("a Redis that refuses PING to this user is no break", {
  skip: noRedisServer,
}, async (t) => {
  const server = await redis("redis-server");
  t.after(() => server.remove());
  const client = await look(t, server.url);
  await client.sendCommand(["ACL", "SETUSER", "default", "-ping"]);
  const all = await startAll(t, server.url);
  // As many looks as make a break, and some more.
  await until("the pings", async () => {
    const refused = await client.info("errorstats");
    return Number(refused.match(/NOPERM:count=(\d+)/)?.[1]) > 6 * 12;
  });
  for (const one of all) await works(one, client, "still");
  for (const { self, file } of all) assert.equal(self.err, "", file);
});

/** A server that answers every command with the same, whatever it is. */
async function hostile(t: TestContext, answer: (command: string) => string) {
  const server = createServer((socket) => {
    t.after(() => socket.destroy());
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      for (const command of String(chunk).split(/^\*\d+\r\n/m).slice(1)) {
        socket.write(answer(command));
      }
    });
  }).listen(0, "127.0.0.1");
  t.after(() => server.close());
  await until("the hostile server", () => server.listening);
  return (server.address() as { port: number }).port;
}
const words = (command: string) =>
  command.split("\r\n").filter((line) => line && !line.startsWith("$"));

describe("hostile servers", { concurrency: atOnce }, () => {
  test("a server that does not know AUTH and repeats it: the password is not shown", async (t) => {
    const port = await hostile(t, (command) => {
      const [name, ...args] = words(command);
      const all = args.map((arg) => `'${arg}'`).join(" ");
      return `-ERR unknown command '${name}', ` +
        `with args beginning with: ${all}\r\n`;
    });
    await Promise.all(["producer.ts", ...waiting].map(async (file) => {
      const refused = script(t, file, [], {
        REDIS_URL: `redis://:secret@127.0.0.1:${port}/5`,
        PORT: "0",
      });
      assert.equal(await refused.status, 1, file);
      assert.equal(
        refused.err,
        `Cannot use Redis at redis://127.0.0.1:${port}/5: ERR unknown ` +
          "command 'AUTH'. Too old, a Sentinel, a proxy, redis+cluster:?\n",
      );
      assert.equal(refused.out, "");
    }));
  });

  const wrong = {
    "a number": ":7\r\n",
    "an empty list": "*0\r\n",
    "a map": "%1\r\n+a\r\n+b\r\n",
    "no protocol": "HTTP/1.1 400 Bad Request\r\n\r\n",
  };
  for (const [what, reply] of Object.entries(wrong)) {
    test(`${what} as the answer to every command is no stack trace`, async (t) => {
      const port = await hostile(
        t,
        (command) =>
          ["HELLO", "SELECT", "CLIENT"].includes(words(command)[0]!)
            ? "+OK\r\n"
            : reply,
      );
      const url = `redis://127.0.0.1:${port}/5`;
      const all = ["producer.ts", "publisher.ts", ...waiting].map((file) =>
        script(t, file, [], { REDIS_URL: url, PORT: "0", WORK_MS: "200" })
      );
      await Promise.all(all.map(async (one) => {
        await until("it to say something", () => one.out + one.err);
        // Once more, where such answers keep a loop going.
        await until("its end", () => {
          one.child.kill("SIGINT");
          return one.child.exitCode !== null || one.child.signalCode;
        });
        assert.doesNotMatch(one.err, /\n +at |node:internal/, one.err);
      }));
    });
  }
});

onEachRedis("messages that hurt", (get) => {
  test("70 MB of ESC are one short line, and the next message follows", async (t) => {
    const e = { REDIS_URL: get().url, ...names() };
    const client = await look(t, e.REDIS_URL);
    for (const file of consumers) {
      await client.lPush(e.QUEUE, "\u001b".repeat(70_000_000));
      const consumer = script(t, file, [], e);
      await consumer.says("more characters\n");
      await client.lPush(e.QUEUE, "next");
      await consumer.says("Task get next");
      assert.ok(consumer.out.length < 10_000);
      assert.equal(await consumer.end(), 0);
    }
  });
}, kinds.slice(0, 1));

test("a line of 50 MB on standard input is read as fast as many short ones", async (t) => {
  const server = await redis(kinds[0]!);
  t.after(() => server.remove());
  const e = { REDIS_URL: server.url, ...names() };
  const client = await look(t, server.url);
  const took: number[] = [];
  for (const line of ["x".repeat(50_000_000), "x\n".repeat(500_000)]) {
    const producer = script(t, "extras/batch-producer.ts", [], e);
    producer.child.stdin.write("first\n");
    await producer.says("first");
    const before = performance.now();
    producer.child.stdin.end(line);
    assert.equal(await producer.status, 0);
    took.push(performance.now() - before);
  }
  assert.equal(await client.lLen(e.QUEUE), 500_003);
  assert.equal(await client.lIndex(e.QUEUE, 500_001), "x".repeat(50_000_000));
  t.diagnostic(took.map(Math.round).join(" and ") + " ms");
  assert.ok(took[0]! < 3 * took[1]!, took.join(" "));
});
