// The batch consumer: each message once in either order, what Ctrl-C and a
// crash do to the batch in hand.

import assert from "node:assert/strict";
import { test } from "node:test";
import { look, names, onEachRedis, script, until } from "../tools.ts";

const file = "extras/batch-consumer.ts";
const numbered = (count: number) =>
  Array.from({ length: count }, (_, i) => String(i));
const byNumber = (a: string, b: string) => +a - +b;

onEachRedis("batch consumer", (server) => {
  for (
    const [order, name] of [["lifo", "newest"], ["fifo", "oldest"]] as const
  ) {
    test(`--order ${order} prints each message of a backlog exactly once, the ${name} first, in batches that do not divide it`, async (t) => {
      const env = { REDIS_URL: server().url, ...names() };
      const client = await look(t, env.REDIS_URL);
      const pushed = numbered(1000);
      await client.lPush(env.QUEUE, pushed);
      const consumer = script(
        t,
        file,
        ["--order", order, "--batch", "64"],
        env,
      );
      await until("1,000 lines", () => consumer.tasks.length >= 1000);
      assert.deepEqual(
        consumer.tasks,
        order === "lifo" ? [...pushed].reverse() : pushed,
      );

      await client.lPush(env.QUEUE, "while it waits");
      await consumer.says("Task get while it waits\n");
      assert.equal(await consumer.end(), 0);
      assert.equal(consumer.tasks.length, 1001);
      assert.equal(consumer.err, "");
    });
  }

  test("one round trip takes BATCH messages and no more: the others stay for other consumers", async (t) => {
    const env = { REDIS_URL: server().url, ...names() };
    const client = await look(t, env.REDIS_URL);
    await client.lPush(env.QUEUE, numbered(100));
    const slow = script(
      t,
      file,
      ["--batch", "30", "--work-ms", "3600000"],
      env,
    ); // it never gets to print one
    await until(
      "a batch to be taken",
      async () => await client.lLen(env.QUEUE) < 100,
    );
    const other = script(t, file, [], env);
    await until("the others", () => other.tasks.length >= 70);
    assert.deepEqual(other.tasks, numbered(70).reverse());
    assert.deepEqual(slow.tasks, ["99"]); // in hand
  });

  test("two consumers share a backlog: each message goes to one of them", async (t) => {
    const env = { REDIS_URL: server().url, ...names() };
    const client = await look(t, env.REDIS_URL);
    const consumers = [script(t, file, [], env), script(t, file, [], env)];
    for (const consumer of consumers) await consumer.says("listen task queue");
    const pushed = numbered(5000);
    for (let i = 0; i < 5000; i += 10) {
      await client.lPush(env.QUEUE, pushed.slice(i, i + 10));
    }
    await until(
      "5,000 lines",
      () => consumers[0]!.tasks.length + consumers[1]!.tasks.length >= 5000,
    );
    assert.deepEqual(
      consumers.flatMap((consumer) => consumer.tasks).sort(byNumber),
      pushed,
    );
  });

  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    test(`${signal} with a batch in hand loses nothing: what is printed and what is left make up what was pushed`, async (t) => {
      const env = { REDIS_URL: server().url, ...names() };
      const client = await look(t, env.REDIS_URL);
      const pushed = numbered(1000);
      await client.lPush(env.QUEUE, pushed);
      const consumer = script(
        t,
        file,
        ["--batch", "40", "--work-ms", "5"],
        env,
      );
      await until(
        "the second batch to be in hand",
        () => consumer.tasks.length > 40,
      );
      assert.equal(await consumer.end(signal), 0);
      const left = await client.lRange(env.QUEUE, 0, -1);
      assert.equal(
        consumer.tasks.length % 40,
        0,
        "it ends after a whole batch",
      );
      assert.ok(left.length >= 40, "it does not take another batch");
      assert.deepEqual([...consumer.tasks, ...left].sort(byNumber), pushed);
    });
  }

  test("Ctrl-C while messages come in loses nothing, whenever it meets them", async (t) => {
    const env = { REDIS_URL: server().url, ...names() };
    const client = await look(t, env.REDIS_URL);
    const printed: string[] = [];
    let count = 0;
    for (let round = 0; round < 4; round++) {
      const consumer = script(t, file, ["--batch", "5"], env);
      await consumer.says("listen task queue");
      let ended = false;
      const goOn = count + 300;
      const status = (async () => {
        await until("messages to come in", () => consumer.tasks.length > 20);
        const ends = await consumer.end();
        ended = true;
        return ends;
      })();
      while (!ended || count < goOn) {
        await client.lPush(env.QUEUE, String(count++));
      }
      assert.equal(await status, 0);
      printed.push(...consumer.tasks);
    }
    const left = await client.lRange(env.QUEUE, 0, -1);
    assert.deepEqual([...printed, ...left].sort(byNumber), numbered(count));
  });

  test("kill -9 with a batch in hand loses at most BATCH messages, and prints none twice", async (t) => {
    const env = { REDIS_URL: server().url, ...names() };
    const client = await look(t, env.REDIS_URL);
    const pushed = numbered(1000);
    await client.lPush(env.QUEUE, pushed);
    const consumer = script(t, file, ["--batch", "40", "--work-ms", "5"], env);
    await until(
      "the second batch to be in hand",
      () => consumer.tasks.length > 40,
    );
    await consumer.end("SIGKILL");
    const left = await client.lRange(env.QUEUE, 0, -1);
    const found = new Set([...consumer.tasks, ...left]);
    assert.equal(found.size, consumer.tasks.length + left.length);
    const lost = pushed.filter((task) => !found.has(task)).length;
    t.diagnostic(`lost ${lost} of a batch of 40`);
    assert.ok(lost > 0 && lost <= 40, `lost ${lost}`);

    // The rest waits for the next consumer
    const next = script(t, file, [], env);
    await until("the rest", () => next.tasks.length >= left.length);
    assert.deepEqual(next.tasks, left);
  });

  test("a queue name that holds no list ends it with one line and status 1", async (t) => {
    const env = { REDIS_URL: server().url, ...names() };
    const client = await look(t, env.REDIS_URL);
    await client.set(env.QUEUE, "no list");
    const consumer = script(t, file, [], env);
    assert.equal(await consumer.status, 1);
    assert.match(
      consumer.err,
      /^Cannot use Redis( at \S+)?: WRONGTYPE .*\n$/,
    );
  });
});
