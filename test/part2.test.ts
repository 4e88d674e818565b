// Topics, request and reply, priority: what their headers promise.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ended,
  look,
  names,
  noRedisServer,
  onEachRedis,
  type Redis,
  redis,
  script,
  soak,
  until,
} from "./tools.ts";

const posix = process.platform === "win32" && "needs POSIX signals";

onEachRedis("topics", (get: () => Redis) => {
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
    const publish = async (topic: string, text: string) => {
      const args = ["--channel", `${CHANNEL}.${topic}`, text];
      const publisher = script(t, "publisher.ts", args, { REDIS_URL });
      assert.equal(await publisher.status, 0);
      return Number(/received by (\d+)/.exec(publisher.out)![1]);
    };
    assert.equal(await publish("sport", "goal"), 4);
    assert.equal(await publish("sport.football", "end"), 3);
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
});

onEachRedis("a restart of Redis", (_, kind) => {
  test("a pattern subscriber and an answerer go on after it", async (t) => {
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
      assert.equal(ends, each === topics ? ended("subscriber.ts") : 0);
    }
  });
});

onEachRedis("request and reply", (get: () => Redis, kind) => {
  test(`${soak(100, kind)} askers at once, several answerers: each asker has its own answer, and nothing is left`, async (t) => {
    const e = { REDIS_URL: get().url, ...names() };
    const client = await look(t, e.REDIS_URL);
    const answerers = [1, 2].map(() => script(t, "extras/answerer.ts", [], e));
    for (const answerer of answerers) await answerer.says("listen");
    const askers = Array.from({ length: soak(100, kind) }, (_, i) => {
      const args = ["--wait-ms", "30000", `${i} a`, `${i} b 你好`];
      return script(t, "extras/asker.ts", args, e);
    });
    const reversed = (text: string) => [...text].reverse().join("");
    for (const [i, asker] of askers.entries()) {
      assert.equal(await asker.status, 0, asker.err);
      const answers = asker.lines.filter((line) => line.startsWith("answer"));
      assert.deepEqual(
        answers.map((line) => line.split(" -- ")[1]),
        [reversed(`${i} a`), reversed(`${i} b 你好`)],
      );
    }
    for (const answerer of answerers) assert.ok(answerer.tasks.length > 0);
    assert.deepEqual(await client.keys(`${e.QUEUE}*`), []);
  });

  test("an asker gives up after WAIT_MS; the question is worked on in vain, and the late answer goes within a minute", async (t) => {
    const e = { REDIS_URL: get().url, ...names() };
    const client = await look(t, e.REDIS_URL);
    const asker = script(t, "extras/asker.ts", ["--wait-ms", "5200", "x"], e);
    await asker.says("ask ");
    const asked = performance.now();
    assert.equal(await asker.status, 1);
    assert.ok(performance.now() - asked > 5000); // longer than a break's 4 s
    assert.equal(asker.err, 'No answer to "x" within 5200 ms.\n');
    const answerer = script(t, "extras/answerer.ts", ["--work-ms", "100"], e);
    await answerer.says("Task done x");
    const [reply] = await client.keys(`${e.QUEUE}*`);
    assert.ok(reply!.startsWith(`${e.QUEUE}:reply:`));
    const seconds = await client.ttl(reply!);
    assert.ok(seconds > 50 && seconds <= 60, String(seconds));
  });

  test("an asker killed while its answer is under way leaves nothing that stays; an answerer restarted goes on with the next", async (t) => {
    const e = { REDIS_URL: get().url, ...names() };
    const client = await look(t, e.REDIS_URL);
    const args = ["--work-ms", "700"];
    const first = script(t, "extras/answerer.ts", args, e);
    await first.says("listen");
    const asker = script(t, "extras/asker.ts", ["killed"], e);
    await first.says("Task get killed");
    await asker.end("SIGKILL");
    await first.says("Task done killed");
    for (const key of await client.keys(`${e.QUEUE}*`)) {
      assert.ok(await client.ttl(key) > 0, key);
    }

    const patient = script(t, "extras/asker.ts", [
      "--wait-ms",
      "30000",
      "one",
      "two",
    ], e);
    await first.says("Task get one");
    assert.equal(await first.end(), 0); // after the one in hand
    await patient.says(/answer \S+ -- eno\n/);
    await patient.says(/ask \S+ -- two\n/);
    const second = script(t, "extras/answerer.ts", [], e);
    await patient.says(/answer \S+ -- owt\n/);
    assert.deepEqual(second.tasks, ["two"]);
    assert.equal(await patient.status, 0);
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
    const answerer = script(t, "extras/answerer.ts", ["--work-ms", "500"], e);
    await answerer.says("listen");
    const asker = script(t, "extras/asker.ts", ["--wait-ms", "20000", "x"], e);
    await answerer.says("Task get x");
    await client.configSet("maxmemory", "1");
    await answerer.says("trying again");
    await client.configSet("maxmemory", "0");
    await asker.says(/answer \S+ -- x\n/);
  });
});

onEachRedis("priority", (get: () => Redis) => {
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

    // A flood: more urgent ones than it takes, all pushed before it looks.
    const flood = Array.from({ length: 1000 }, (_, i) => `urgent ${i}`);
    await client.multi().lPush(urgent, flood).lPush(e.QUEUE, "starves").exec();
    await until("some", () => consumer.tasks.length > 10);
    await client.lPush(urgent, "late, but urgent");
    await consumer.says("Task get starves");
    const got = consumer.tasks.slice(4);
    assert.equal(got.at(-1), "starves");
    assert.deepEqual(got.slice(0, 1000), flood);
    assert.equal(got[1000], "late, but urgent");
    assert.deepEqual(await client.keys(`${e.QUEUE}*`), []);
  });
});

onEachRedis("stopping", (get: () => Redis) => {
  for (const file of ["extras/priority-consumer.ts", "extras/answerer.ts"]) {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      test(
        `${file} finishes what it has in hand on ${signal}, and leaves the rest`,
        {
          skip: posix,
        },
        async (t) => {
          const e = { REDIS_URL: get().url, ...names() };
          const client = await look(t, e.REDIS_URL);
          await client.lPush(e.QUEUE, ["1 a", "2 b", "3 c"]);
          const busy = script(t, file, ["--work-ms", "500"], e);
          await busy.says("Task get");
          assert.equal(await busy.end(signal), 0);
          assert.equal(busy.tasks.length, 1);
          assert.deepEqual(busy.done, busy.tasks);
          const left = await client.lRange(e.QUEUE, 0, -1);
          assert.equal(left.length, 2);
        },
      );
    }
  }
});
