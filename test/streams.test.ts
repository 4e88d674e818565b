// Streams: what groups and members get, crashes, poison, and what Redis loses. SOAK=1 runs the full counts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  look,
  names,
  onEachRedis,
  type Program,
  type Redis,
  script,
  soak,
  until,
} from "./tools.ts";

const file = "extras/stream-consumer.ts";
const upTo = (count: number) =>
  Array.from({ length: count }, (_, i) => String(i));
const byNumber = (a: string, b: string) => +a - +b;
const twice = (tasks: string[]) =>
  tasks.filter((task, i) => tasks.indexOf(task) !== i);

onEachRedis("streams", (get: () => Redis, kind) => {
  const env = (more = {}) => ({
    REDIS_URL: get().url,
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

  test("each group gets all, the members of a group share, a late group reads from the beginning, --from new does not", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    const members = [script(t, file, [], e), script(t, file, [], e)];
    const late = [["--group", "audit", "--batch", "7"], [
      "--group",
      "today",
      "--from",
      "new",
    ]];
    for (const member of members) await member.says("listen task stream");
    const shared = () => members.flatMap((member) => member.tasks);
    for (const task of upTo(100)) await client.xAdd(e.STREAM, "*", { task });
    await until("100 messages", () => shared().length >= 100);
    assert.deepEqual(shared().sort(byNumber), upTo(100));
    for (const member of members) assert.ok(member.tasks.length > 0);

    const [audit, today] = late.map((args) => script(t, file, args, e));
    await today!.says("listen task stream");
    const producer = script(t, "extras/stream-producer.ts", ["end", "你好"], e);
    assert.equal(await producer.status, 0);
    assert.match(
      producer.out,
      /^xadd queue\S+ -- end \(id \d+-\d+\)\nxadd queue\S+ -- 你好 \(id \d+-\d+\)\n$/,
    );
    await audit!.says("Task get 你好");
    await today!.says("Task get 你好");
    assert.deepEqual(audit!.tasks, [...upTo(100), "end", "你好"]);
    assert.deepEqual(today!.tasks, ["end", "你好"]);
    await until(
      "the acks",
      async () =>
        await pending(client, e.STREAM) + await pending(
              client,
              e.STREAM,
              "audit",
            ) === 0,
    );
  });

  test(`two groups of two members under a steady producer: ${soak(30, kind)} kills lose nothing, strand nothing, and repeat nothing but what was in hand`, async (t) => {
    const e = env({ WORK_MS: "3" }), client = await look(t, e.REDIS_URL);
    let on = true, count = 0;
    const producing = (async () => {
      while (on) {
        await client.xAdd(e.STREAM, "*", { task: String(count++) });
        await sleep(2);
      }
    })();
    t.after(() => on = false);
    const groups = ["a", "b"].map((group) => ({ group, all: [] as Program[] }));
    const join = ({ group, all }: typeof groups[0]) => {
      const member = script(t, file, ["--group", group], e);
      all.push(member);
      return member;
    };
    const kills = Math.max(4, soak(30, kind));
    const killed = { a: 0, b: 0 } as Record<string, number>;
    await Promise.all(groups.map(async (one) => {
      join(one);
      for (let i = 0; i < kills / 2; i++) {
        const victim = join(one);
        await until("a few messages", () => victim.tasks.length > 5);
        await victim.end("SIGKILL");
        killed[one.group]!++;
      }
      join(one);
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

  test("a living member keeps what it works on for longer than LEASE_MS; a dead one's is taken over", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    await client.xAdd(e.STREAM, "*", { task: "long" });
    const slow = script(t, file, ["--work-ms", "3500"], e);
    await slow.says("Task get long");
    const other = script(t, file, [], e);
    await slow.says("Task done long");
    assert.deepEqual(other.tasks, []);
    await client.xAdd(e.STREAM, "*", { task: "to the other" });
    await other.says("to the other");
    await other.end();

    await client.xAdd(e.STREAM, "*", { task: "left" });
    await slow.says("Task get left");
    await slow.end("SIGKILL");
    const heir = script(t, file, [], e);
    await heir.says("Task get left");
    assert.deepEqual(heir.tasks, ["left"]);
  });

  test("a message whose work fails is in the dead letters once, after TRIES tries, byte for byte, and no consumer ends", async (t) => {
    const e = env({ TRIES: "2" }), client = await look(t, e.REDIS_URL);
    const members = [script(t, file, [], e), script(t, file, [], e)];
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

  test("a message that kills its consumers is put aside, too, and takes none of its batch along", async (t) => {
    const e = env({ TRIES: "2" }), client = await look(t, e.REDIS_URL);
    for (const task of ["a", "b", "killer", "c"]) {
      await client.xAdd(e.STREAM, "*", { task });
    }
    const args = ["--batch", "4", "--work-ms", "200"];
    const got: string[] = [];
    for (let tries = 0; tries < 2; tries++) {
      const victim = script(t, file, args, e);
      await victim.says("Task get killer");
      await victim.end("SIGKILL");
      got.push(...victim.tasks);
    }
    const last = script(t, file, args, e);
    await last.says("Task dead killer");
    await last.says("Task done c");
    assert.equal(got.filter((task) => task === "killer").length, 2);
    assert.ok(!last.tasks.includes("killer"));
    const dead = await client.xRange(`${e.STREAM}:dead:workers`, "-", "+");
    assert.deepEqual(dead!.map(({ message }) => ({ ...message })), [
      { task: "killer" },
    ]);
  });

  test("an entry without our field is printed with its fields", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    await client.xAdd(e.STREAM, "*", { name: "Ann", age: "7" });
    await client.xAdd(e.STREAM, "*", { order: "1001" });
    const consumer = script(t, file, [], e);
    await consumer.says("Task get 1001");
    assert.deepEqual(consumer.tasks, ["name Ann age 7", "1001"]);
  });

  test("a key that is no stream ends each script with one line and status 1", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    await client.set(e.STREAM, "no stream");
    for (const name of [file, "extras/stream-producer.ts"]) {
      const one = script(t, name, [], e);
      assert.equal(await one.status, 1);
      assert.match(one.err, /^Redis at .* says: WRONGTYPE .*\n$/);
    }
  });

  test("a group deleted while its members wait, and a stream deleted, begin again", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    const members = [script(t, file, [], e), script(t, file, [], e)];
    for (const member of members) await member.says("listen task stream");
    await client.xGroupDestroy(e.STREAM, "workers");
    await client.xAdd(e.STREAM, "*", { task: "after the group" });
    const tasks = () => members.flatMap((member) => member.tasks);
    await until("a message", () => tasks().includes("after the group"));
    await client.del(e.STREAM);
    await client.xAdd(e.STREAM, "*", { task: "after the stream" });
    await until("one more", () => tasks().includes("after the stream"));
    for (const { child } of members) assert.equal(child.exitCode, null);
  });

  test("what is cut off under a sleeping member does not disturb anybody", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    for (const task of upTo(5)) await client.xAdd(e.STREAM, "*", { task });
    const sleeper = script(t, file, ["--work-ms", "2500"], e);
    await sleeper.says("Task get 0");
    await client.xTrim(e.STREAM, "MAXLEN", 1);
    const other = script(t, file, [], e);
    await other.says("Task get 4");
    await sleeper.says("Task done 0");
    assert.deepEqual(other.tasks, ["4"]);
    await client.xAdd(e.STREAM, "*", { task: "5" });
    await until(
      "the next",
      () => [...other.tasks, ...sleeper.tasks].includes("5"),
    );
    await other.end();
    // In hand and cut off: nobody can take it over.
    await client.xAdd(e.STREAM, "*", { task: "6" });
    await sleeper.says("Task get 6");
    await sleeper.end("SIGKILL");
    await client.xTrim(e.STREAM, "MAXLEN", 0);
    const heir = script(t, file, [], e);
    await heir.says("listen task stream");
    await client.xAdd(e.STREAM, "*", { task: "7" });
    await heir.says("Task get 7");
    await until(
      "nothing in hand",
      async () => await pending(client, e.STREAM) === 0,
    );
    assert.deepEqual(heir.tasks, ["7"]);
  });

  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    test(
      `${signal} finishes the batch in hand and loses nothing, busy or idle`,
      {
        skip: process.platform === "win32" && "needs POSIX signals",
      },
      async (t) => {
        const e = env(), client = await look(t, e.REDIS_URL);
        for (const task of upTo(20)) await client.xAdd(e.STREAM, "*", { task });
        const args = ["--batch", "5", "--work-ms", "100"];
        const busy = script(t, file, args, e);
        await busy.says("Task get 1\n");
        assert.equal(await busy.end(signal), 0);
        assert.deepEqual(busy.done, upTo(5));
        assert.equal(await pending(client, e.STREAM), 0);

        const idle = script(t, file, [], e);
        await idle.says("Task get 19");
        assert.deepEqual(idle.tasks, upTo(20).slice(5));
        const before = performance.now();
        assert.equal(await idle.end(signal), 0);
        assert.ok(performance.now() - before < 1500);
        assert.equal(await pending(client, e.STREAM), 0);
      },
    );
  }
});
