// Streams: what groups and members get, crashes, poison, and what Redis loses.
// SOAK=1 runs the full counts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type Kind,
  kinds,
  look,
  names,
  onEachRedis,
  type Program,
  type Redis,
  redis,
  script,
  soak,
  until,
} from "../tools.ts";

const consumer = "extras/stream-consumer.ts";
const worker = "extras/stream-worker.ts";
// What does not depend on the server is tried on one.
const some = kinds.slice(0, 1);
const both = [consumer, worker];
const upTo = (count: number) =>
  Array.from({ length: count }, (_, i) => String(i));
const kills = (kind: Kind) => soak(30, kind) === 30 ? 30 : 2;
const byNumber = (a: string, b: string) => +a - +b;
const twice = (tasks: string[]) =>
  tasks.filter((task, i) => tasks.indexOf(task) !== i);

const env = (url: string, more = {}) => ({
  REDIS_URL: url,
  STREAM: names().QUEUE,
  LEASE_MS: "1000",
  ...more,
});
/** How many messages the group's members have in hand. */
const pending = async (
  client: Awaited<ReturnType<typeof look>>,
  stream: string,
  group = "workers",
) => (await client.xPending(stream, group)).pending;

onEachRedis("streams", (get: () => Redis, kind) => {
  test("each group gets all, the members of a group share, a late group reads from the beginning, --from new does not", async (t) => {
    const e = env(get().url), client = await look(t, e.REDIS_URL);
    const members = both.map((file) => script(t, file, [], e));
    for (const member of members) await member.says("listen task stream");
    const shared = () => members.flatMap((member) => member.tasks);
    let count = 0;
    const add = () => client.xAdd(e.STREAM, "*", { task: String(count++) });
    while (count < 100) await add();
    // A member says that it listens a moment before it does.
    await until("some for each", async () => {
      await add();
      return members.every(({ tasks }) => tasks.length > 0);
    });
    await until("all messages", () => shared().length >= count);
    assert.deepEqual(shared().sort(byNumber), upTo(count));

    const [audit, today] = [
      ["--group", "audit", "--batch", "7"],
      ["--group", "today", "--from", "new"],
    ].map((args) => script(t, consumer, args, e));
    await today!.says("listen task stream");
    const producer = script(t, "extras/stream-producer.ts", ["end", "你好"], e);
    assert.equal(await producer.status, 0);
    assert.match(
      producer.out,
      /^xadd queue\S+ -- end \(id [\d-]+\)\nxadd queue\S+ -- 你好 \(id \S+\)\n$/,
    );
    await audit!.says("Task get 你好");
    await today!.says("Task get 你好");
    assert.deepEqual(audit!.tasks, [...upTo(count), "end", "你好"]);
    assert.deepEqual(today!.tasks, ["end", "你好"]);
    for (const group of ["workers", "audit", "today"]) {
      await until(
        `the acks of ${group}`,
        async () => await pending(client, e.STREAM, group) === 0,
      );
    }
  });

  test(`two groups of two members under a steady producer: ${kills(kind)} kills lose nothing, strand nothing, and repeat nothing but what was in hand`, async (t) => {
    // A busy machine holds a living member up, too: a lease that is long
    // enough.
    const e = env(get().url, { WORK_MS: "3", LEASE_MS: "4000" });
    const client = await look(t, e.REDIS_URL);
    let on = true, count = 0;
    const producing = (async () => {
      while (on) {
        await client.xAdd(e.STREAM, "*", { task: String(count++) });
        await sleep(5);
      }
    })();
    t.after(() => on = false);
    const groups = ["a", "b"].map((group) => ({ group, all: [] as Program[] }));
    const join = ({ group, all }: typeof groups[0]) => {
      const member = script(t, worker, ["--group", group], e);
      all.push(member);
      return member;
    };
    const killed = { a: 0, b: 0 } as Record<string, number>;
    await Promise.all(groups.map(async (one) => {
      join(one); // which lives on
      for (let i = 0; i < kills(kind) / 2; i++) {
        const victim = join(one);
        await until("a few messages", () => victim.tasks.length > 5);
        await victim.end("SIGKILL");
        killed[one.group]!++;
      }
    }));
    on = false;
    await producing;
    for (const { group, all } of groups) {
      const got = () => all.flatMap((member) => member.tasks);
      await until("every message", () => new Set(got()).size >= count);
      await until(
        "nothing in hand",
        async () => await pending(client, e.STREAM, group) === 0,
      );
      assert.deepEqual([...new Set(got())].sort(byNumber), upTo(count));
      const repeated = twice(got());
      t.diagnostic(`${count} messages, ${repeated.length} of them twice`);
      // In hand when it died: one each, and one whose XACK was under way.
      assert.ok(repeated.length <= 2 * killed[group]!, repeated.join(" "));
    }
  });

  test("a message whose work fails is in the dead letters once, after TRIES tries, byte for byte, and no consumer ends", async (t) => {
    const e = env(get().url, { TRIES: "2" }),
      client = await look(t, e.REDIS_URL);
    const members = [1, 2].map(() => script(t, worker, [], e));
    for (const member of members) await member.says("listen task stream");
    const poison = Buffer.from([70, 65, 73, 76, 0xff, 0]); // FAIL, no UTF-8
    await client.sendCommand(
      ["XADD", e.STREAM, "*", "task", poison, "twice", "1", "twice", "2"],
    );
    const said = () => members.map(({ out }) => out).join("");
    await until("the end of it", () => said().includes("Task dead"));
    await client.xAdd(e.STREAM, "*", { task: "next" });
    await until("the next", () => said().includes("Task get next"));
    assert.equal(said().match(/Task get .*FAIL/g)!.length, 2);
    assert.equal(said().match(/Task failed/g)!.length, 2);
    const dead = `${e.STREAM}:dead:workers`;
    assert.equal(await client.xLen(dead), 1);
    const [entry] = await client.sendCommand(
      ["XRANGE", dead, "-", "+"],
      { typeMapping: { 36: Buffer } },
    ) as unknown as [unknown, Buffer[]][];
    assert.deepEqual(entry![1][1], poison);
    assert.deepEqual(entry![1].slice(2).map(String), [
      "twice",
      "1",
      "twice",
      "2",
    ]);
    await until(
      "nothing in hand",
      async () => await pending(client, e.STREAM) === 0,
    );
    for (const { child } of members) assert.equal(child.exitCode, null);
  });

  test("a message that the dead letters do not take stays in hand, and no consumer ends", async (t) => {
    const e = env(get().url, { TRIES: "1" }),
      client = await look(t, e.REDIS_URL);
    const dead = `${e.STREAM}:dead:workers`;
    await client.set(dead, "no stream");
    await client.xAdd(e.STREAM, "*", { task: "FAIL" });
    const member = script(t, worker, [], e);
    await member.says("WRONGTYPE");
    await client.xAdd(e.STREAM, "*", { task: "next" });
    await member.says("Task get next");
    await until(
      "that in hand only",
      async () => await pending(client, e.STREAM) === 1,
    );
    await member.says(/(WRONGTYPE[^]*){2}/); // it is tried again

    await client.del(dead);
    await member.says("Task dead FAIL (after 1 tries)");
    const letters = await client.xRange(dead, "-", "+");
    assert.deepEqual(letters!.map(({ message }) => ({ ...message })), [
      { task: "FAIL" },
    ]);
    assert.equal(await pending(client, e.STREAM), 0);
    assert.deepEqual(member.tasks, ["FAIL", "next"]);
    assert.match(
      member.err,
      /^(No dead letter in queue\S+ yet: WRONGTYPE .*\n)+$/,
    );
  });
});

onEachRedis("members of a group", (get: () => Redis, kind) => {
  test("a group or a stream deleted under waiting members, and a restart that loses both: they begin again", async (t) => {
    const server = await redis(kind);
    t.after(() => server.remove());
    const STREAM = "stream";
    const members = both.map((file) =>
      script(t, file, ["--group", file], { REDIS_URL: server.url, STREAM })
    );
    const all = async (text: string) => {
      for (const member of members) await member.says(text);
    };
    await all("listen task stream");
    let client = await look(t, server.url);
    for (const group of both) await client.xGroupDestroy(STREAM, group);
    await client.xAdd(STREAM, "*", { task: "after the groups" });
    await all("Task get after the groups");
    await client.del(STREAM);
    await client.xAdd(STREAM, "*", { task: "after the stream" });
    await all("Task get after the stream");

    await server.stop();
    await all("Waiting for Redis");
    await server.start();
    await all("Redis is there.");
    client = await look(t, server.url);
    await client.xAdd(STREAM, "*", { task: "after the restart" });
    await all("Task get after the restart");
    await server.stop();
    for (const { err, end } of members) {
      assert.match(err, /^(Group \S+ is gone: it begins again.*\n)+/);
      const ends = await end();
      if (process.platform !== "win32") assert.equal(ends, 0);
    }
  });

  test("what a killed member has in hand stays pending: not for one that is started again, but for a worker", async (t) => {
    const e = env(get().url), client = await look(t, e.REDIS_URL);
    await client.xAdd(e.STREAM, "*", { task: "left" });
    const killed = script(t, consumer, ["--work-ms", "60000"], e);
    await killed.says("Task get left");
    await killed.end("SIGKILL");
    const again = script(t, consumer, [], e);
    await client.xAdd(e.STREAM, "*", { task: "next" });
    await again.says("Task get next");
    assert.deepEqual(again.tasks, ["next"]);
    await until(
      "its ack",
      async () => await pending(client, e.STREAM) === 1,
    );
    const heir = script(t, worker, [], e);
    await heir.says("Task get left");
    await until(
      "nothing in hand",
      async () => await pending(client, e.STREAM) === 0,
    );
  });

  test("a living member keeps what it works on for longer than LEASE_MS; a dead one's is taken over", async (t) => {
    const e = env(get().url, { LEASE_MS: "2000" }),
      client = await look(t, e.REDIS_URL);
    await client.xAdd(e.STREAM, "*", { task: "long" });
    const slow = script(t, worker, ["--work-ms", "5000"], e);
    await slow.says("Task get long");
    const other = script(t, worker, [], e);
    await slow.says("Task done long");
    assert.deepEqual(other.tasks, []);
    // Both wait now, and get by turns; until the slow one has one in hand.
    const left = await until("one in hand", async () => {
      await client.xAdd(e.STREAM, "*", { task: `left ${Math.random()}` });
      return slow.tasks[1];
    });
    await slow.end("SIGKILL");
    await other.says(`Task get ${left}`);
    await until(
      "nothing in hand",
      async () => await pending(client, e.STREAM) === 0,
    );
    assert.equal(new Set(other.tasks).size, other.tasks.length);
  });

  test("a message that kills its consumers is put aside, too", async (t) => {
    const e = env(get().url, { TRIES: "2" }),
      client = await look(t, e.REDIS_URL);
    await client.xAdd(e.STREAM, "*", { task: "killer" });
    for (let tries = 0; tries < 2; tries++) {
      const victim = script(t, worker, ["--work-ms", "60000"], e);
      await victim.says("Task get killer");
      await victim.end("SIGKILL");
    }
    await client.xAdd(e.STREAM, "*", { task: "next" });
    const last = script(t, worker, [], e);
    await last.says("Task dead killer");
    await last.says("Task get next");
    assert.deepEqual(last.tasks, ["next"]);
    const dead = await client.xRange(`${e.STREAM}:dead:workers`, "-", "+");
    assert.deepEqual(dead!.map(({ message }) => ({ ...message })), [
      { task: "killer" },
    ]);
  });

  test("an entry without our field is printed with its fields", async (t) => {
    const e = env(get().url), client = await look(t, e.REDIS_URL);
    await client.xAdd(e.STREAM, "*", { name: "Ann", age: "7" });
    await client.xAdd(e.STREAM, "*", { order: "1001" });
    await Promise.all(both.map(async (file) => {
      const member = script(t, file, ["--group", file], e);
      await member.says("Task get 1001");
      assert.deepEqual(member.tasks, ["name Ann age 7", "1001"]);
    }));
  });

  test("a key that is no stream ends each script with one line and status 1", async (t) => {
    const e = env(get().url), client = await look(t, e.REDIS_URL);
    await client.set(e.STREAM, "no stream");
    await Promise.all(
      [...both, "extras/stream-producer.ts"].map(async (name) => {
        const one = script(t, name, [], e);
        assert.equal(await one.status, 1);
        assert.match(one.err, /^Cannot use Redis( at \S+)?: WRONGTYPE .*\n$/);
      }),
    );
  });

  test("what is cut off under a sleeping member does not disturb anybody", async (t) => {
    const e = env(get().url), client = await look(t, e.REDIS_URL);
    await client.xAdd(e.STREAM, "*", { task: "0" });
    const sleeper = script(t, worker, ["--work-ms", "2500"], e);
    await sleeper.says("Task get 0");
    await client.xTrim(e.STREAM, "MAXLEN", 0);
    await sleeper.says("Task done 0");
    await client.xAdd(e.STREAM, "*", { task: "1" });
    await sleeper.says("Task get 1");
    // In hand and cut off: nobody can take it over.
    await sleeper.end("SIGKILL");
    await client.xTrim(e.STREAM, "MAXLEN", 0);
    const heir = script(t, worker, [], e);
    await client.xAdd(e.STREAM, "*", { task: "2" });
    await heir.says("Task get 2");
    await until(
      "nothing in hand",
      async () => await pending(client, e.STREAM) === 0,
    );
    assert.deepEqual(heir.tasks, ["2"]);
    assert.equal(sleeper.err + heir.err, "");
  });

  for (const [file, batch] of [[consumer, 5], [worker, 1]] as const) {
    test(
      `${file} finishes what it has in hand and loses nothing, SIGINT or SIGTERM, busy or idle`,
      {
        skip: process.platform === "win32" && "needs POSIX signals",
      },
      async (t) => {
        const e = env(get().url), client = await look(t, e.REDIS_URL);
        for (const task of upTo(40)) await client.xAdd(e.STREAM, "*", { task });
        const args = ["--work-ms", "100"];
        if (batch > 1) args.push("--batch", String(batch));
        const busy = script(t, file, args, e);
        await busy.says("Task get 1\n");
        assert.equal(await busy.end("SIGINT"), 0);
        const { length } = busy.done;
        assert.deepEqual(busy.done, upTo(length));
        assert.ok(length < 40 && length % batch === 0, String(length));
        assert.equal(await pending(client, e.STREAM), 0);

        const idle = script(t, file, [], e);
        await idle.says("Task get 39");
        assert.deepEqual(idle.tasks, upTo(40).slice(length));
        assert.equal(await idle.end("SIGTERM"), 0);
        assert.equal(await pending(client, e.STREAM), 0);
      },
    );
  }
}, some);
