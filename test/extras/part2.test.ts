// Topics, request and reply, priority: what their headers promise. SOAK=1 runs
// the full counts.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  kinds,
  look,
  names,
  noRedisServer,
  onEachRedis,
  type Redis,
  redis,
  script,
  soak,
  until,
} from "../tools.ts";

// What does not depend on the server is tried on one.
const some = kinds.slice(0, 1);
const reversed = (text: string) => [...text].reverse().join("");
const posix = process.platform === "win32" && "needs POSIX signals";

onEachRedis("part two", (get: () => Redis, kind) => {
  test("a pattern subscriber hears what fits, a message that fits two patterns twice, and received by counts both", async (t) => {
    const { CHANNEL } = names(), REDIS_URL = get().url;
    const one = script(t, "extras/topic-subscriber.ts", [`${CHANNEL}.*`], {
      REDIS_URL,
    });
    const two = script(t, "extras/topic-subscriber.ts", [
      `${CHANNEL}.*`,
      `${CHANNEL}.sp?rt`,
    ], { REDIS_URL });
    const all = script(t, "extras/topic-subscriber.ts", [], { REDIS_URL });
    for (const each of [one, two, all]) await each.says("listen task channel");
    const args = ["--channel", `${CHANNEL}.sport`, "goal"];
    const publisher = script(t, "publisher.ts", args, { REDIS_URL });
    assert.equal(await publisher.status, 0);
    assert.match(publisher.out, /received by 4/);
    const football = `${CHANNEL}.sport.football`;
    const client = await look(t, REDIS_URL);
    assert.equal(await client.publish(football, "end"), 3);
    const line = (topic: string, text: string) =>
      `${CHANNEL}.${topic} -- ${text}`;
    const ours = () => all.tasks.filter((task) => task.startsWith(CHANNEL));
    await until("all lines", () =>
      one.tasks.length >= 2 &&
      two.tasks.length >= 3 && ours().length >= 2);
    const [goal, end] = [line("sport", "goal"), line("sport.football", "end")];
    assert.deepEqual(one.tasks, [goal, end]);
    assert.deepEqual(two.tasks, [goal, goal, end]);
    assert.deepEqual(ours(), [goal, end]);
  });

  test("100 askers at once, several answerers: each asker has its own answer, and nothing is left", async (t) => {
    const e = { REDIS_URL: get().url, ...names() };
    const client = await look(t, e.REDIS_URL);
    const answerers = [1, 2].map(() => script(t, "extras/answerer.ts", [], e));
    for (const answerer of answerers) await answerer.says("listen");
    // Processes are slow to start: most of them only ask as asker.ts does.
    const plain = 100 - Math.max(2, soak(24, kind));
    const ids = Array.from({ length: plain }, () => randomUUID());
    const questions = ids.map((id, i) => `${id} ${i} a`);
    await client.lPush(e.QUEUE, questions);
    let next = plain;
    const ask = async () => {
      for (let i = next++; i < 100; i = next++) {
        const args = ["--wait-ms", "30000", `${i} a`, `${i} b 你好`];
        const asker = script(t, "extras/asker.ts", args, e);
        assert.equal(await asker.status, 0, asker.err);
        const answers = asker.lines.filter((line) => line.startsWith("answer"));
        assert.deepEqual(
          answers.map((line) => line.split(" -- ")[1]),
          [reversed(`${i} a`), reversed(`${i} b 你好`)],
        );
      }
    };
    await Promise.all(Array.from({ length: 8 }, ask));
    for (const [i, id] of ids.entries()) {
      const answer = await client.blPop(`${e.QUEUE}:reply:${id}`, 30);
      assert.equal(answer?.element, reversed(`${i} a`));
    }
    // A moment after the word listen each of them does.
    await until("a question for each", async () => {
      await client.lPush(e.QUEUE, "last question");
      return answerers.every(({ tasks }) => tasks.length > 0);
    });
    const last = `${e.QUEUE}:reply:last`;
    await until("the last", async () => !await client.exists(e.QUEUE));
    for (const answerer of answerers) await answerer.end();
    await client.del(last);
    assert.deepEqual(await client.keys(`${e.QUEUE}*`), []);
  });

  test("urgent messages come first, of each queue in its order; under an urgent flood the others starve", async (t) => {
    const e = { REDIS_URL: get().url, ...names() };
    const client = await look(t, e.REDIS_URL);
    const urgent = `${e.QUEUE}:urgent`;
    await client.lPush(e.QUEUE, ["1", "2"]);
    await client.lPush(urgent, ["a", "b"]);
    const args = ["--order", "fifo"];
    const consumer = script(t, "extras/priority-consumer.ts", args, e);
    await consumer.says("Task get 2");
    assert.deepEqual(consumer.tasks, ["a", "b", "1", "2"]);

    // A flood, and one more at once: before it has got through.
    const flood = Array.from({ length: 1000 }, (_, i) => `urgent ${i}`);
    await Promise.all([
      client.multi().lPush(urgent, flood).lPush(e.QUEUE, "starves").exec(),
      client.lPush(urgent, "late, but urgent"),
    ]);
    await consumer.says("Task get starves");
    const got = consumer.tasks.slice(4);
    assert.equal(got.at(-1), "starves");
    assert.deepEqual(got.slice(0, 1000), flood);
    assert.equal(got[1000], "late, but urgent");
    assert.deepEqual(await client.keys(`${e.QUEUE}*`), []);
  });
});

onEachRedis("part two in detail", (get: () => Redis, kind) => {
  test("a pattern subscriber and an answerer go on after a restart of Redis", async (t) => {
    const server = await redis(kind);
    t.after(() => server.remove());
    const e = { REDIS_URL: server.url, ...names() };
    const topics = script(t, "extras/topic-subscriber.ts", ["news.*"], e);
    const answerer = script(t, "extras/answerer.ts", [], e);
    const waiting = [topics, answerer];
    for (const each of waiting) await each.says("listen");
    await server.stop();
    for (const each of waiting) await each.says("Waiting for Redis");
    await server.start();
    for (const each of waiting) await each.says("Redis is there.");
    const client = await look(t, e.REDIS_URL);
    await until(
      "its subscription",
      async () => await client.publish("news.a", "again") === 1,
    );
    await topics.says("Task get news.a -- again");
    const asker = script(t, "extras/asker.ts", ["hello"], e);
    await asker.says(/answer \S+ -- olleh\n/);
    assert.equal(await asker.status, 0);
    await server.stop();
    for (const each of waiting) {
      await until("it to notice", () => each.err.match(/Waiting/g)!.length > 1);
      const ends = await each.end();
      assert.equal(ends, 0);
    }
  });

  test("an asker gives up after WAIT_MS; the question is worked on in vain, and the late answer goes within a minute", async (t) => {
    const e = { REDIS_URL: get().url, ...names() };
    const client = await look(t, e.REDIS_URL);
    const asker = script(t, "extras/asker.ts", ["--wait-ms", "300", "x"], e);
    assert.equal(await asker.status, 1);
    assert.match(asker.out, /^ask \S+ -- x\n$/);
    assert.equal(asker.err, 'No answer to "x" within 300 ms.\n');
    const answerer = script(t, "extras/answerer.ts", ["--work-ms", "100"], e);
    await answerer.says("Task done x");
    const [reply] = await client.keys(`${e.QUEUE}*`);
    assert.ok(reply!.startsWith(`${e.QUEUE}:reply:`));
    const seconds = await client.ttl(reply!);
    assert.ok(seconds > 30 && seconds <= 60, String(seconds));
  });

  test("an asker waits for longer than the four seconds that count as a break", async (t) => {
    const e = { REDIS_URL: get().url, ...names() };
    const client = await look(t, e.REDIS_URL);
    const asker = script(t, "extras/asker.ts", ["--wait-ms", "30000", "x"], e);
    const [id] = (await client.brPop(e.QUEUE, 30))!.element.split(" ");
    await asker.says("ask ");
    await sleep(4700); // this time is what is tested
    await client.lPush(`${e.QUEUE}:reply:${id}`, "late");
    assert.equal(await asker.status, 0);
    assert.equal(asker.out, `ask ${id} -- x\nanswer ${id} -- late\n`);
    assert.equal(asker.err, "");
  });

  test("an asker killed while its answer is under way leaves nothing that stays; an answerer restarted goes on with the next", async (t) => {
    const e = { REDIS_URL: get().url, ...names() };
    const client = await look(t, e.REDIS_URL);
    const first = script(t, "extras/answerer.ts", ["--work-ms", "700"], e);
    await first.says("listen");
    const asker = script(t, "extras/asker.ts", ["killed"], e);
    await first.says("Task get killed");
    await asker.end("SIGKILL");
    await first.says("Task done killed");
    for (const key of await client.keys(`${e.QUEUE}*`)) {
      assert.ok(await client.ttl(key) > 0, key);
    }

    const args = ["--wait-ms", "30000", "one", "two"];
    const patient = script(t, "extras/asker.ts", args, e);
    await first.says("Task get one");
    assert.equal(await first.end(), 0); // after what it has in hand
    const second = script(t, "extras/answerer.ts", [], e);
    assert.equal(await patient.status, 0);
    await patient.says(/answer \S+ -- eno\n.*\nanswer \S+ -- owt\n$/);
    const all = [...first.tasks, ...second.tasks];
    assert.deepEqual(all, ["killed", "one", "two"]);
  });

  test("what is no question, from producer.ts, does not end an answerer", async (t) => {
    const e = { REDIS_URL: get().url, ...names() };
    const client = await look(t, e.REDIS_URL);
    await client.lPush(e.QUEUE, ["7", "", " ", "id question"]);
    const answerer = script(t, "extras/answerer.ts", [], e);
    await answerer.says("Task done question");
    for (const key of await client.keys(`${e.QUEUE}*`)) {
      assert.ok(await client.ttl(key) > 0, key);
    }
    assert.equal(answerer.err, "");
  });

  test("an answer that Redis cannot take for the moment is not dropped", {
    skip: kind === "embedded server" && noRedisServer,
  }, async (t) => {
    const server = await redis(kind);
    t.after(() => server.remove());
    const e = { REDIS_URL: server.url, ...names() };
    const client = await look(t, e.REDIS_URL);
    const asker = script(t, "extras/asker.ts", ["--wait-ms", "30000", "x"], e);
    await asker.says("ask ");
    await client.configSet("maxmemory", "1");
    const answerer = script(t, "extras/answerer.ts", [], e);
    await answerer.says(/Waiting for Redis at .*: OOM /);
    await client.configSet("maxmemory", "0");
    await asker.says(/answer \S+ -- x\n/);
  });

  test("an answer that is not sent before its answerer ends is not called done", async (t) => {
    const server = await redis(kind);
    t.after(() => server.remove());
    const e = { REDIS_URL: server.url, ...names() };
    const client = await look(t, e.REDIS_URL);
    await client.lPush(e.QUEUE, "id hello");
    const answerer = script(t, "extras/answerer.ts", ["--work-ms", "2000"], e);
    await answerer.says("Task get hello");
    answerer.child.kill("SIGTERM");
    await server.stop();
    assert.equal(await answerer.status, posix ? "SIGTERM" : 0);
    assert.doesNotMatch(answerer.out, /done/);
    await answerer.says("Not answered, Redis is away: hello");
  });

  for (
    const [file, signal] of [
      ["extras/priority-consumer.ts", "SIGINT"],
      ["extras/answerer.ts", "SIGTERM"],
    ] as const
  ) {
    test(
      `${file} finishes what it has in hand on ${signal}, and leaves the rest`,
      {
        skip: posix,
      },
      async (t) => {
        const e = { REDIS_URL: get().url, ...names() };
        const client = await look(t, e.REDIS_URL);
        await client.lPush(
          e.QUEUE,
          Array.from({ length: 20 }, (_, i) => `${i} a`),
        );
        const busy = script(t, file, ["--work-ms", "500"], e);
        await busy.says("Task get");
        assert.equal(await busy.end(signal), 0);
        assert.deepEqual(busy.done, busy.tasks);
        const left = await client.lLen(e.QUEUE);
        assert.ok(left > 0);
        assert.equal(busy.tasks.length + left, 20);
      },
    );
  }
}, some);
