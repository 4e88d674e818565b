// What is promised about delivery: stopping, crashes, restarts of Redis, a
// flood. SOAK=1 runs the full counts.

import assert from "node:assert/strict";
import { connect as dial } from "node:net";
import { describe, test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  look,
  names,
  noRedisServer,
  onEachRedis,
  type Program,
  type Redis,
  redis,
  script,
  soak,
  until,
} from "./tools.ts";

const consumers = [
  "consumer.ts",
  "extras/reliable-consumer.ts",
  "extras/batch-consumer.ts",
];
const waiting = [...consumers, "subscriber.ts", "server.ts"];
const sorted = (tasks: string[]) => tasks.map(Number).sort((a, b) => a - b);
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);
const twice = (tasks: string[]) =>
  tasks.filter((task, i) => tasks.indexOf(task) !== i);
const posix = process.platform === "win32" && "needs POSIX signals";

/**
 * Pushes 0, 1, 2 … until told to stop, about one each ms; a push that Redis did
 * not acknowledge is tried again under a new number.
 */
function pusher(client: Awaited<ReturnType<typeof look>>, queue: string) {
  const acknowledged: string[] = [];
  let next = 0, on = true;
  const done = (async () => {
    while (on) {
      const message = String(next++);
      await client.lPush(queue, message).then(
        () => acknowledged.push(message),
        () => sleep(20),
      );
      await sleep(1);
    }
  })();
  return {
    acknowledged,
    stop: () => {
      on = false;
      return done;
    },
  };
}

/** The messages that reliable consumers have in hand, by list. */
async function inHand(client: Awaited<ReturnType<typeof look>>, queue: string) {
  const lists = await client.keys(`${queue}:inhand:*`);
  const values = await Promise.all(
    lists.filter((key) => !key.endsWith(":lease")).map((key) =>
      client.lRange(key, 0, -1)
    ),
  );
  return values.flat();
}

onEachRedis("stopping", (get: () => Redis, kind) => {
  const env = () => ({ REDIS_URL: get().url, ...names(), PORT: "0" });

  test(`${soak(100, kind)} stops of consumers under a steady producer lose none of ${soak(3000, kind)} messages`, async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    const push = pusher(client, e.QUEUE);
    const stopped: Program[] = [];
    let left = soak(100, kind);
    await Promise.all([1, 2, 3, 4].map(async (worker) => {
      while (left-- > 0) {
        const consumer = script(t, "consumer.ts", [], e);
        await until("a first message", () => consumer.tasks.length > 0);
        const before = performance.now();
        assert.equal(await consumer.end(worker % 2 ? "SIGINT" : "SIGTERM"), 0);
        const took = performance.now() - before;
        assert.ok(took < 1500, `${took} ms`);
        stopped.push(consumer);
      }
    }));
    await until(
      "enough messages",
      () => push.acknowledged.length >= soak(3000, kind),
    );
    await push.stop();
    const got = [
      ...stopped.flatMap((consumer) => consumer.tasks),
      ...await client.lRange(e.QUEUE, 0, -1),
    ];
    assert.equal(stopped.length, soak(100, kind));
    assert.deepEqual(sorted(got), sorted(push.acknowledged));
  });

  for (const file of waiting) {
    test(`${file} ends within 2 s on a signal when idle`, {
      skip: posix,
    }, async (t) => {
      for (
        const signal of file === "consumer.ts"
          ? ["SIGINT", "SIGTERM", "SIGHUP"] as const
          : ["SIGINT", "SIGTERM"] as const
      ) {
        const idle = script(t, file, [], env());
        await idle.says(file === "server.ts" ? "page at" : "listen");
        const before = performance.now();
        assert.equal(await idle.end(signal), 0);
        const took = performance.now() - before;
        assert.ok(took < 2000, `${took} ms`); // a BLPOP takes a second
        assert.equal(idle.err.replace(/Waiting.*\nRedis is there.\n/, ""), "");
      }
    });
  }

  for (const file of consumers) {
    test(`${file} finishes and prints what it has in hand before it ends`, {
      skip: posix,
    }, async (t) => {
      const e = env(), client = await look(t, e.REDIS_URL);
      const busy = script(t, file, ["--work-ms", "1000"], e);
      await busy.says("listen");
      await client.lPush(e.QUEUE, "in hand");
      await busy.says("Task get in hand");
      const before = performance.now();
      assert.equal(await busy.end(), 0);
      const took = performance.now() - before;
      assert.deepEqual(busy.done, ["in hand"]);
      assert.ok(took < 1000 + 1500, `${took} ms`);
      assert.deepEqual(await inHand(client, e.QUEUE), []);
    });

    test(`a second signal ends ${file} at once`, { skip: posix }, async (t) => {
      const e = env(), client = await look(t, e.REDIS_URL);
      const busy = script(t, file, ["--work-ms", "60000"], e);
      await busy.says("listen");
      await client.lPush(e.QUEUE, "in hand");
      await busy.says("Task get in hand");
      busy.child.kill("SIGINT");
      assert.equal(
        await until("its end", () => {
          busy.child.kill("SIGINT");
          return busy.child.exitCode;
        }, 5000),
        130,
      );
      assert.deepEqual(busy.done, []);
    });
  }

  test(
    "consumers, subscriber and page end within 6 s also while Redis hangs",
    { skip: posix },
    async (t) => {
      const server = await redis(kind);
      t.after(() => server.remove());
      const waiters = waiting.map((file) =>
        script(t, file, [], { ...env(), REDIS_URL: server.url })
      );
      for (const waiter of waiters) await waiter.says(/listen|page at/);
      await until(
        "the page",
        async () =>
          (await fetch(waiters.at(-1)!.out.match(/http:\S+/)![0])).status ===
            200,
      );
      server.process.child.kill("SIGSTOP");
      for (const [i, waiter] of waiters.entries()) {
        const before = performance.now();
        assert.equal(await waiter.end(), 0);
        const took = performance.now() - before;
        assert.ok(took < 6000, `${took} ms for ${waiting[i]}`);
      }
    },
  );

  test("two consumers whose work takes time share a peak of orders", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    const two = [1, 2].map(() =>
      script(t, "consumer.ts", ["--work-ms", "50"], e)
    );
    await Promise.all(two.map((consumer) => consumer.says("listen")));
    await client.lPush(e.QUEUE, upTo(20).map(String));
    await until(
      "all orders",
      () => two.flatMap((consumer) => consumer.tasks).length === 20,
    );
    assert.deepEqual(
      sorted(two.flatMap((consumer) => consumer.tasks)),
      upTo(20),
    );
    for (const consumer of two) {
      assert.ok(consumer.tasks.length >= 5, `${consumer.tasks.length}`);
    }
  });

  test(
    `a subscriber keeps up with a burst of ${
      soak(1_000_000, kind)
    } short messages`,
    { timeout: 120_000 },
    async (t) => {
      const e = env();
      const subscriber = script(t, "subscriber.ts", [], e);
      await subscriber.says("listen task channel");
      const socket = dial(get().port, "127.0.0.1").resume();
      t.after(() => socket.destroy());
      const burst = `PUBLISH ${e.CHANNEL} hello\r\n`.repeat(10_000);
      for (let i = 0; i < soak(1_000_000, kind); i += 10_000) {
        if (!socket.write(burst)) {
          await new Promise((drained) => socket.once("drain", drained));
        }
      }
      await until(
        "every message",
        () =>
          subscriber.out.length >=
            subscriber.out.indexOf("\n") + 1 +
              soak(1_000_000, kind) * "Task get hello\n".length ||
          subscriber.err,
        100_000,
      );
      assert.equal(subscriber.err, "");
      assert.equal(subscriber.tasks.length, soak(1_000_000, kind));
    },
  );

  test(
    "a subscriber that Redis cuts off at its output limit says that messages were missed, and goes on",
    {
      skip: posix ||
        (kind === "embedded server" &&
          "the embedded server has no such limit: it never cuts a subscriber off"),
    },
    async (t) => {
      const server = await redis(kind);
      t.after(() => server.remove());
      const e = { ...env(), REDIS_URL: server.url },
        client = await look(t, server.url);
      await client.configSet(
        "client-output-buffer-limit",
        "pubsub 100000 100000 60",
      );
      const subscriber = script(t, "subscriber.ts", [], e);
      await subscriber.says("listen task channel");
      subscriber.child.kill("SIGSTOP");
      await until(
        "Redis to cut it off",
        async () => await client.publish(e.CHANNEL, "x".repeat(100_000)) === 0,
      );
      subscriber.child.kill("SIGCONT");
      await subscriber.says("is missed");
      await until(
        "the subscription",
        async () => await client.publish(e.CHANNEL, "again") === 1,
      );
      await subscriber.says("Task get again");
    },
  );
});

onEachRedis("at least once", (get: () => Redis, kind) => {
  const env = () => ({ REDIS_URL: get().url, ...names(), LEASE_MS: "1000" });
  const reliable = "extras/reliable-consumer.ts";

  test(
    `${
      soak(50, kind)
    } kill -9 on two reliable consumers under load: none lost, none stranded, twice only what was in hand`,
    { timeout: 200_000 },
    async (t) => {
      // With a lease this long, what a killed one had is still in its list when
      // the test looks.
      const e = { ...env(), LEASE_MS: "4000" },
        client = await look(t, e.REDIS_URL);
      const push = pusher(client, e.QUEUE);
      const killed: Program[] = [];
      const held = new Set<string>();
      const two = await Promise.all([1, 2].map(async () => {
        for (let i = 0; i < soak(50, kind) / 2; i++) {
          const consumer = script(t, reliable, [], e);
          await until("some messages", () => consumer.tasks.length > 20);
          await consumer.end("SIGKILL");
          for (const message of await inHand(client, e.QUEUE)) {
            held.add(message);
          }
          killed.push(consumer);
        }
        return script(t, reliable, [], e);
      }));
      await push.stop();
      const all = [...killed, ...two];
      await until(
        "every message",
        () =>
          new Set(all.flatMap((consumer) => consumer.tasks)).size >=
            push.acknowledged.length,
      );
      await until(
        "empty hands",
        async () => (await inHand(client, e.QUEUE)).length === 0,
      );
      const got = all.flatMap((consumer) => consumer.tasks);
      assert.deepEqual(sorted([...new Set(got)]), sorted(push.acknowledged));
      t.diagnostic(
        `${killed.length} kills, ${push.acknowledged.length} messages, ${
          twice(got).length
        } printed twice`,
      );
      for (const message of twice(got)) assert.ok(held.has(message), message);
    },
  );

  test("what a dead consumer had in hand is taken up within LEASE_MS, by another one that was there before", async (t) => {
    const e = { ...env(), LEASE_MS: "4000" },
      client = await look(t, e.REDIS_URL);
    const dead = script(t, reliable, ["--work-ms", "60000"], e);
    await dead.says("listen");
    await client.lPush(e.QUEUE, "orphan");
    await until(
      "the message taken",
      async () => (await inHand(client, e.QUEUE)).length === 1,
    );
    const other = script(t, reliable, [], e);
    await other.says("listen");
    await dead.end("SIGKILL");
    const before = performance.now();
    await other.says("Task get orphan");
    const took = performance.now() - before;
    assert.ok(took < 4000, `${took} ms`);
    await until(
      "empty hands",
      async () => (await inHand(client, e.QUEUE)).length === 0,
    );
  });

  test("work that takes longer than LEASE_MS is not taken from a living consumer", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    const two = [1, 2].map(() => script(t, reliable, ["--work-ms", "3500"], e));
    await Promise.all(two.map((consumer) => consumer.says("listen")));
    await client.lPush(e.QUEUE, ["slow 1", "slow 2"]);
    await until(
      "both",
      () => two.flatMap((consumer) => consumer.done).length >= 2,
    );
    await Promise.all(two.map((consumer) => consumer.end()));
    assert.deepEqual(two.flatMap((consumer) => consumer.tasks).sort(), [
      "slow 1",
      "slow 2",
    ]);
    assert.deepEqual(await inHand(client, e.QUEUE), []);
  });

  test(
    "a consumer stopped for longer than its lease and then continued does no harm beyond a message printed twice",
    { skip: posix },
    async (t) => {
      const e = env(), client = await look(t, e.REDIS_URL);
      const frozen = script(t, reliable, ["--work-ms", "200"], e);
      await frozen.says("listen");
      await client.lPush(e.QUEUE, ["held"]);
      await until(
        "the message taken",
        async () => (await inHand(client, e.QUEUE)).length === 1,
      );
      frozen.child.kill("SIGSTOP");
      const other = script(t, reliable, [], e);
      await other.says("Task get held");
      frozen.child.kill("SIGCONT");
      await frozen.says("Task done held");
      for (let i = 0; i < 50; i++) {
        await client.lPush(e.QUEUE, String(i));
      }
      await until(
        "the others",
        () => frozen.tasks.length + other.tasks.length >= 52,
      );
      assert.deepEqual(
        sorted(
          [...frozen.tasks, ...other.tasks].filter((task) => task !== "held"),
        ),
        upTo(50),
      );
      await Promise.all([frozen.end(), other.end()]);
      assert.deepEqual(await inHand(client, e.QUEUE), []);
    },
  );

  test(`${soak(100, kind)} connections killed lose nothing: the reply that was lost is taken up again`, async (t) => {
    const server = await redis(kind);
    t.after(() => server.remove());
    const e = { ...env(), REDIS_URL: server.url };
    const client = await look(t, server.url);
    const push = pusher(client, e.QUEUE);
    const consumer = script(t, reliable, [], e);
    for (let i = 0; i < soak(100, kind); i++) {
      const before = consumer.tasks.length;
      await until("it going on", () => consumer.tasks.length > before + 5);
      // Both of its connections.
      const kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
      assert.equal(await client.sendCommand(kill), 2);
    }
    await push.stop();
    await until(
      "every message",
      () => new Set(consumer.tasks).size >= push.acknowledged.length,
    );
    await until(
      "empty hands",
      async () => (await inHand(client, e.QUEUE)).length === 0,
    );
    assert.deepEqual(
      sorted([...new Set(consumer.tasks)]),
      sorted(push.acknowledged),
    );
    t.diagnostic(
      `${
        soak(100, kind)
      } connections killed, ${push.acknowledged.length} messages, ${
        twice(consumer.tasks).length
      } printed twice`,
    );
  });

  test(`${soak(2000, kind)} identical messages are done as often as there are of them, also when a consumer is killed`, async (t) => {
    const e = { ...env(), WORK_MS: "5" }, client = await look(t, e.REDIS_URL);
    const count = soak(2000, kind);
    const three = [1, 2, 3].map(() => script(t, reliable, [], e));
    await Promise.all(three.map((consumer) => consumer.says("listen")));
    await client.lPush(e.QUEUE, Array(count).fill("same"));
    await until("a tenth", () => three[0]!.done.length > count / 10);
    await three[0]!.end("SIGKILL");
    const done = () => three.flatMap((consumer) => consumer.done).length;
    await until("all done", () => done() >= count);
    await Promise.all(three.map((consumer) => consumer.end()));
    assert.equal(await client.lLen(e.QUEUE), 0);
    // Killed after its print and before its LREM: that one comes again.
    assert.ok(done() <= count + 1, `${done()}`);
  });

  test("a message that is not UTF-8 is printed once and leaves nothing behind, also when it is taken up from a dead consumer", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    const gbk = Buffer.from([0xd6, 0xd0, 0xce, 0xc4]);
    await client.lPush(e.QUEUE, [gbk]);
    await client.lPush(`${e.QUEUE}:inhand:dead`, [gbk]);
    await client.zAdd(`${e.QUEUE}:takers`, { score: 1, value: "dead" });
    const consumer = script(t, reliable, [], e);
    await until("both", () => consumer.tasks.length >= 2);
    await until(
      "empty hands",
      async () => (await inHand(client, e.QUEUE)).length === 0,
    );
    await client.lPush(e.QUEUE, "next");
    await consumer.says("Task get next");
    assert.equal(consumer.tasks.length, 3);
  });

  for (
    const what of ["is full", "hangs for 3 s and the consumer is told to stop"]
  ) {
    test(
      `when Redis ${what}, work in hand is not taken from a living consumer`,
      {
        skip: what.startsWith("hangs") && posix,
      },
      async (t) => {
        const server = await redis(kind);
        t.after(() => server.remove());
        const e = { ...env(), REDIS_URL: server.url, LEASE_MS: "4000" };
        const client = await look(t, e.REDIS_URL);
        const busy = script(t, reliable, ["--work-ms", "9000"], e);
        await busy.says("listen");
        await client.lPush(e.QUEUE, "slow");
        await busy.says("Task get slow");
        const other = script(t, reliable, [], e);
        await other.says("listen");
        // Longer than the lease of half of LEASE_MS: this is what is tested.
        if (what === "is full") {
          await client.configSet("maxmemory", "1");
          await sleep(3000);
          await client.configSet("maxmemory", "0");
        } else {
          busy.child.kill("SIGINT");
          server.process.child.kill("SIGSTOP");
          await sleep(3000);
          server.process.child.kill("SIGCONT");
        }
        await busy.says("Task done slow");
        assert.deepEqual(other.tasks, []);
        if (what === "is full") busy.child.kill("SIGINT");
        assert.equal(await busy.status, 0);
        assert.deepEqual(await inHand(client, e.QUEUE), []);
      },
    );
  }

  test(
    "when Redis was away for longer than the lease, work in hand is not taken from a living consumer",
    { skip: noRedisServer },
    async (t) => {
      const server = await redis(
        "redis-server",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
      );
      t.after(() => server.remove());
      const e = { ...env(), REDIS_URL: server.url, LEASE_MS: "4000" },
        client = await look(t, server.url);
      const two = [1, 2].map(() =>
        script(t, reliable, ["--work-ms", "10000"], e)
      );
      await Promise.all(two.map((consumer) => consumer.says("listen")));
      await client.lPush(e.QUEUE, "slow");
      await until(
        "the message taken",
        async () => (await inHand(client, e.QUEUE)).length === 1,
      );
      const lists = (await client.keys("*:inhand:*")).filter((key) =>
        !key.endsWith(":lease")
      );
      await server.stop();
      // Longer than the lease of half of LEASE_MS: this is what is tested, not
      // a wait for something
      await sleep(2500);
      await server.start();
      await Promise.all(
        two.map((consumer) => consumer.says("Redis is there.")),
      );
      await until(
        "the work done",
        () => two.flatMap((consumer) => consumer.done).length > 0,
      );
      assert.deepEqual(
        (await client.keys("*:inhand:*")).filter((key) =>
          !key.endsWith(":lease") && !lists.includes(key)
        ),
        [],
      );
      await Promise.all(two.map((consumer) => consumer.end()));
      assert.deepEqual(two.flatMap((consumer) => consumer.tasks), ["slow"]);
    },
  );

  test("reliable and plain consumers share a queue", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    const three = [reliable, reliable, "consumer.ts"].map((file) =>
      script(t, file, ["--work-ms", "5"], e)
    );
    await Promise.all(three.map((consumer) => consumer.says("listen")));
    await client.lPush(e.QUEUE, upTo(300).map(String));
    await until(
      "every message",
      () => three.flatMap((consumer) => consumer.tasks).length >= 300,
    );
    await Promise.all(three.map((consumer) => consumer.end()));
    assert.deepEqual(
      sorted(three.flatMap((consumer) => consumer.tasks)),
      upTo(300),
    );
    for (const consumer of three) {
      assert.ok(consumer.tasks.length > 20, `${consumer.tasks.length}`);
    }
  });
});

describe("Redis going away", { skip: noRedisServer }, () => {
  test(
    `${
      soak(10)
    } kill -9 and restarts of Redis (append-only, fsync always): no acknowledged push is lost before a consumer takes it, the reliable ones lose none`,
    { timeout: 200_000 },
    async (t: TestContext) => {
      const server = await redis(
        "redis-server",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
      );
      t.after(() => server.remove());
      const plain = { REDIS_URL: server.url, ...names(), LEASE_MS: "1000" },
        safe = { ...plain, QUEUE: names().QUEUE };
      const client = await look(t, server.url),
        other = await look(t, server.url);
      const plainOnes = [1, 2].map(() => script(t, "consumer.ts", [], plain));
      const reliableOnes = [1, 2].map(() =>
        script(t, "extras/reliable-consumer.ts", [], safe)
      );
      const subscribers = [1, 2].map(() =>
        script(t, "subscriber.ts", [], plain)
      );
      const everyone = [...plainOnes, ...reliableOnes, ...subscribers];
      await Promise.all(everyone.map((one) => one.says("listen")));
      const plainPush = pusher(client, plain.QUEUE),
        safePush = pusher(other, safe.QUEUE);

      const flows = async (what: string) => {
        const before = [...plainOnes, ...reliableOnes].map((one) =>
          one.tasks.length
        );
        await until(
          `everything to flow ${what}`,
          () =>
            plainOnes.some((one, i) => one.tasks.length > before[i]!) &&
            reliableOnes.some((one, i) => one.tasks.length > before[2 + i]!),
        );
        await until(
          "the subscribers",
          async () => await client.publish(plain.CHANNEL, what) === 2,
        );
      };
      await flows("at the start");
      for (let i = 1; i <= soak(10); i++) {
        await server.stop();
        await server.start();
        await flows(`after return ${i}`);
      }
      await plainPush.stop();
      await safePush.stop();
      await until(
        "the queues to be empty",
        async () =>
          await client.lLen(plain.QUEUE) + await client.lLen(safe.QUEUE) +
              (await inHand(client, safe.QUEUE)).length === 0,
      );
      await Promise.all(
        everyone.map((one) => one.end()),
      );

      const got = new Set(reliableOnes.flatMap((one) => one.tasks));
      assert.deepEqual(
        safePush.acknowledged.filter((message) => !got.has(message)),
        [],
      );
      // A plain consumer is served by BLPOP: of each crash it can lose the one
      // message whose reply was under way.
      const took = new Set(plainOnes.flatMap((one) => one.tasks));
      const lost = plainPush.acknowledged.filter((message) =>
        !took.has(message)
      );
      t.diagnostic(
        `${
          soak(10)
        } restarts, ${plainPush.acknowledged.length} acknowledged: the plain consumers lost ${lost.length}, the reliable ones 0 (${
          twice(reliableOnes.flatMap((one) => one.tasks)).length
        } twice)`,
      );
      assert.ok(lost.length <= soak(10) * plainOnes.length, `${lost.length}`);
      for (const subscriber of subscribers) {
        assert.equal(subscriber.tasks.at(-1), `after return ${soak(10)}`);
      }
    },
  );
});
