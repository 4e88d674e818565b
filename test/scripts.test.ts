// The articles' four scripts, alone and together, on each kind of Redis.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  look,
  names,
  noRedisServer,
  onEachRedis,
  type Redis,
  redis,
  script,
  until,
} from "./tools.ts";

const strange = [
  "",
  "two\nlines",
  "tab\tand\u001b[31mescape\u0007",
  "中文消息",
  "😀👨‍👩‍👧",
  "\u202eevil",
  "a".repeat(1000),
  "a".repeat(100_000),
];
const shown = [
  "",
  "'two\\nlines'",
  "'tab\\tand\\x1B[31mescape\\x07'",
  "中文消息",
  "😀👨‍👩‍👧",
  "'%E2%80%AEevil'",
  "a".repeat(1000),
  `'${"a".repeat(1000)}'... 99000 more characters`,
];

onEachRedis("scripts", (get: () => Redis) => {
  const env = () => ({ REDIS_URL: get().url, ...names() });

  test("a producer without arguments pushes one random digit and logs the article's line", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    for (let i = 1; i <= 3; i++) {
      const producer = script(t, "producer.ts", [], e);
      assert.equal(await producer.status, 0);
      const [, digit, length] = producer.out.match(
        /^lpush queue:[\d:]+ -- (\d) \(queue length (\d)\)\n$/,
      ) ?? [];
      assert.equal(Number(length), i);
      assert.equal(await client.lIndex(e.QUEUE, 0), digit);
    }
  });

  test("a producer pushes each argument in turn, and a consumer that starts later gets them all, the newest first", async (t) => {
    const e = env();
    const producer = script(t, "producer.ts", [
      "order 1001",
      "order 1002",
      "order 1003",
    ], e);
    assert.equal(await producer.status, 0);
    assert.deepEqual(
      producer.lines,
      [1001, 1002, 1003].map((n, i) =>
        `lpush ${e.QUEUE} -- order ${n} (queue length ${i + 1})`
      ),
    );
    const consumer = script(t, "consumer.ts", [], e);
    await consumer.says("order 1001");
    assert.deepEqual(consumer.lines, [
      `listen task queue ${e.QUEUE} as consumer:${consumer.child.pid}`,
      "Task get order 1003",
      "Task get order 1002",
      "Task get order 1001",
    ]);
    assert.equal(await consumer.end(), 0);
    assert.equal(consumer.err, "");
  });

  for (const file of ["consumer.ts", "extras/reliable-consumer.ts"]) {
    test(`${file} --order fifo takes the oldest first`, async (t) => {
      const e = env(), client = await look(t, e.REDIS_URL);
      await client.lPush(e.QUEUE, ["1", "2", "3"]);
      const consumer = script(t, file, ["--order", "fifo"], e);
      await consumer.says("Task get 3");
      assert.deepEqual(consumer.tasks, ["1", "2", "3"]);
    });
  }

  test("extras/batch-producer.ts reads one message a line from standard input, and a last line without its end counts", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    const producer = script(t, "extras/batch-producer.ts", [], e);
    const sent = Array.from({ length: 20_000 }, (_, i) => `消息 ${i}`);
    producer.child.stdin.end(sent.join("\n"));
    assert.equal(await producer.status, 0);
    assert.deepEqual((await client.lRange(e.QUEUE, 0, -1)).reverse(), sent);
    assert.deepEqual(
      producer.lines,
      sent.map((message, i) =>
        `lpush ${e.QUEUE} -- ${message} (queue length ${i + 1})`
      ),
    );
  });

  test("lines that end as on Windows are messages without that end, wherever standard input is cut", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    const producer = script(t, "extras/batch-producer.ts", [], e);
    producer.child.stdin.write("1\r\n2\r");
    await producer.says("-- 1 ");
    producer.child.stdin.end("\n3\r\n");
    assert.equal(await producer.status, 0);
    const sent = await client.lRange(e.QUEUE, 0, -1);
    assert.deepEqual(sent, ["3", "2", "1"]);
  });

  test("three consumers share 3,000 messages: each message exactly once, and every consumer is served", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    const consumers = [1, 2, 3].map(() => script(t, "consumer.ts", [], e));
    await Promise.all(
      consumers.map((consumer) => consumer.says("listen task queue")),
    );
    await until(
      "three consumers waiting",
      async () =>
        (await client.clientList()).filter((c) =>
          c.cmd === "blpop" && c.db === 5
        ).length >= 3,
    );
    for (let i = 0; i < 3000; i++) await client.lPush(e.QUEUE, String(i));
    await until(
      "3,000 messages",
      () => consumers.flatMap((c) => c.tasks).length >= 3000,
    );
    await Promise.all(consumers.map((consumer) => consumer.end()));
    assert.deepEqual(
      consumers.flatMap((c) => c.tasks).map(Number).sort((a, b) => a - b),
      Array.from({ length: 3000 }, (_, i) => i),
    );
    for (const consumer of consumers) {
      assert.ok(consumer.tasks.length > 100, `${consumer.tasks.length}`);
    }
  });

  test("three subscribers each get every message, in the same order, and one that comes later gets none of them", async (t) => {
    const e = env();
    const early = script(t, "publisher.ts", ["nobody hears this"], e);
    await early.status;
    assert.equal(
      early.out,
      `publish ${e.CHANNEL} -- nobody hears this (received by 0)\n`,
    );
    const subscribers = [1, 2, 3].map(() => script(t, "subscriber.ts", [], e));
    await Promise.all(
      subscribers.map((subscriber) => subscriber.says("listen task channel")),
    );
    const sent = Array.from({ length: 300 }, (_, i) => `news ${i}`);
    const publisher = script(t, "publisher.ts", sent, e);
    assert.equal(await publisher.status, 0);
    assert.deepEqual(
      publisher.lines,
      sent.map((news) => `publish ${e.CHANNEL} -- ${news} (received by 3)`),
    );
    for (const subscriber of subscribers) {
      await subscriber.says("news 299");
      assert.deepEqual(subscriber.lines, [
        `listen task channel ${e.CHANNEL} as subscriber:${subscriber.child.pid}`,
        ...sent.map((news) => `Task get ${news}`),
      ]);
      assert.equal(await subscriber.end("SIGTERM"), 0);
      assert.equal(subscriber.err, "");
    }
  });

  test("a publisher without arguments publishes one random digit", async (t) => {
    const publisher = script(t, "publisher.ts", [], env());
    assert.equal(await publisher.status, 0);
    assert.match(
      publisher.out,
      /^publish channel:[\d:]+ -- \d \(received by 0\)\n$/,
    );
  });

  test("empty, long, multi-line, Chinese, emoji and hostile messages arrive whole and print as one harmless line each", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    const consumer = script(t, "consumer.ts", [], e),
      subscriber = script(t, "subscriber.ts", [], e);
    await Promise.all([
      consumer.says("listen task queue"),
      subscriber.says("listen task channel"),
    ]);
    const producer = script(t, "producer.ts", strange, e),
      publisher = script(t, "publisher.ts", strange, e);
    assert.deepEqual([await producer.status, await publisher.status], [0, 0]);
    await until(
      "all of them",
      () =>
        consumer.tasks.length === strange.length &&
        subscriber.tasks.length === strange.length,
    );
    assert.deepEqual(consumer.tasks.sort(), [...shown].sort());
    assert.deepEqual(subscriber.tasks, shown);
    assert.deepEqual(
      producer.lines,
      shown.map((message, i) =>
        producer.lines[i]!.replace(/-- .* \(/, `-- ${message} (`)
      ),
    );
    await client.lPush(e.QUEUE, "x".repeat(1_000_000));
    await consumer.says("x'... 999000 more characters\n");
  });

  test("a consumer whose reader has gone (| head) ends and takes no further message", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    const consumer = script(t, "consumer.ts", [], e);
    await consumer.says("listen task queue");
    consumer.child.stdout.destroy();
    await client.lPush(e.QUEUE, ["1", "2", "3"]);
    assert.equal(await consumer.status, 1);
    assert.equal(consumer.err, "");
    assert.equal(await client.lLen(e.QUEUE), 2);
  });
});

describe("scripts, on redis-server with append-only on", {
  skip: noRedisServer,
}, () => {
  test("a message that waits in the queue outlives a kill -9 of Redis", async (t) => {
    const server = await redis(
      "redis-server",
      "--appendonly",
      "yes",
      "--appendfsync",
      "always",
    );
    t.after(() => server.remove());
    const e = { REDIS_URL: server.url, ...names() };
    assert.equal(await script(t, "producer.ts", ["kept"], e).status, 0);
    await server.stop();
    await server.start();
    const consumer = script(t, "consumer.ts", [], e);
    await consumer.says("Task get kept");
  });
});
