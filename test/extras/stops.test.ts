// Who stops a script, and how: as process 1, by other signals than Ctrl-C, and
// when nobody takes, or can take, what it prints.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, test } from "node:test";
import {
  atOnce,
  bare,
  exec,
  look,
  names,
  type Redis,
  redis,
  script,
  until,
} from "../tools.ts";

const posix = process.platform === "win32" && "needs POSIX signals";
/** Whether we may make a process 1 of our own, as docker run does. */
const namespaces = (() => {
  try {
    execFileSync("unshare", ["--pid", "--fork", "--mount-proc", "true"]);
    return false;
  } catch {
    return "needs unshare, as root";
  }
})();

describe("stops", { concurrency: atOnce, skip: posix }, () => {
  let server: Redis;
  before(async () => {
    server = await redis("embedded server");
  });
  after(() => server.remove());
  const env = () => ({ REDIS_URL: server.url, ...names(), PORT: "0" });

  for (
    const file of [
      "consumer.ts",
      "subscriber.ts",
      "server.ts",
      "extras/reliable-consumer.ts",
      "extras/batch-consumer.ts",
      "extras/priority-consumer.ts",
      "extras/topic-subscriber.ts",
      "extras/answerer.ts",
      "extras/stream-consumer.ts",
      "extras/stream-worker.ts",
      "extras/board.ts",
      "extras/start.ts",
    ]
  ) {
    test(`as process 1 ${file} ends on a signal within 2 s`, {
      skip: namespaces,
    }, async (t) => {
      const all = ["SIGTERM", "SIGINT", "SIGHUP"] as const;
      const signals = file.includes("/") ? all.slice(0, 1) : all;
      await Promise.all(signals.map(async (signal) => {
        const node = [process.execPath, "--import", "tsx", file];
        const as1 = ["--pid", "--fork", "--mount-proc", "--kill-child"];
        const one = exec(t, "unshare", [...as1, ...node], { env: bare(env()) });
        await one.says(
          file.includes("start") ? /Open http/ : /listen |page at/,
        );
        // unshare itself only waits; its child is process 1 in there.
        const child = execFileSync("pgrep", ["-P", String(one.child.pid)]);
        const before = performance.now();
        process.kill(Number(child), signal);
        await one.status;
        const took = performance.now() - before;
        // npm start ends its four parts one after the other.
        const most = file.includes("start") ? 4000 : 2000;
        assert.ok(took < most, `${signal}: ${took} ms`);
      }));
    });
  }

  for (const signal of ["SIGUSR2", "SIGHUP"] as const) {
    test(`on ${signal}${signal === "SIGUSR2" ? ", as nodemon sends it," : ""} a consumer finishes what it has in hand`, async (t) => {
      const e = env(), client = await look(t, e.REDIS_URL);
      const busy = script(t, "consumer.ts", ["--work-ms", "300"], e);
      await busy.says("listen");
      await client.lPush(e.QUEUE, ["waits", "in hand"]);
      await busy.says("Task get in hand");
      assert.equal(await busy.end(signal), 0);
      assert.deepEqual(busy.done, ["in hand"]);
      assert.equal(await client.lLen(e.QUEUE), 1);
    });
  }

  for (const file of ["consumer.ts", "subscriber.ts"]) {
    test(
      `${file} whose output goes to a full disk ends with one line, and takes no further message`,
      {
        skip: process.platform !== "linux" && "needs /dev/full",
      },
      async (t) => {
        const e = env(), client = await look(t, e.REDIS_URL);
        const line = `exec "$0" --import tsx ${file} > /dev/full`;
        const one = exec(t, "sh", ["-c", line, process.execPath], {
          env: bare(e),
        });
        await client.lPush(e.QUEUE, ["1", "2"]);
        assert.equal(await one.status, 1);
        assert.equal(one.err, "Cannot use the output: ENOSPC\n");
        assert.ok(await client.lLen(e.QUEUE) >= 1);
      },
    );
  }

  for (const file of ["consumer.ts", "subscriber.ts", "server.ts"]) {
    test(`${file} goes on when nobody reads its errors any more and Redis goes and comes back`, async (t) => {
      const own = await redis("embedded server");
      t.after(() => own.remove());
      const e = { ...env(), REDIS_URL: own.url };
      const one = script(t, file, [], e);
      await one.says(/listen |page at/);
      one.child.stderr.destroy();
      await own.stop();
      await own.start();
      const client = await look(t, own.url);
      await until("it to be back", async () => {
        if (file === "server.ts") {
          const page = one.out.match(/http:\S+/)![0];
          const click = fetch(page + "prodcons", { redirect: "manual" });
          return (await click).status === 302;
        }
        if (file === "consumer.ts") await client.lPush(e.QUEUE, "back");
        else await client.publish(e.CHANNEL, "back");
        return one.tasks.includes("back");
      });
    });
  }

  test("a subscriber whose output nobody reads ends with one line when 64 MB wait", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    const one = script(t, "subscriber.ts", [], e);
    await one.says("listen");
    one.child.stdout.pause();
    let sent = 0; // what is longer than 1,000 characters would be cut
    await until("its end", async () => {
      const line = "x".repeat(1000);
      const batch = Array.from(
        { length: 2000 },
        () => client.publish(e.CHANNEL, line),
      );
      await Promise.all(batch);
      sent += 2;
      assert.ok(sent < 200, "more than 200 MB are in its memory");
      return one.child.exitCode !== null;
    });
    assert.ok(sent >= 60, `${sent} MB`);
    assert.equal(one.child.exitCode, 1);
    assert.equal(one.err, "Cannot use the output: nobody reads it\n");
  });

  test("a consumer whose output nobody reads takes no more than its reader does, and loses nothing", async (t) => {
    const e = env(), client = await look(t, e.REDIS_URL);
    const one = script(t, "consumer.ts", ["--order", "fifo"], e);
    await one.says("listen");
    one.child.stdout.pause();
    const line = "x".repeat(900);
    const all = Array.from({ length: 2000 }, (_, i) => `${i} ${line}`);
    await client.lPush(e.QUEUE, all);
    let length = -1;
    await until("it to stand still", async () => {
      const before = length;
      length = await client.lLen(e.QUEUE);
      await new Promise((later) => setTimeout(later, 200));
      return length === before;
    });
    assert.ok(length > 1000, `${length} wait`);
    one.child.stdout.resume();
    await until("all of them", () => one.tasks.length === all.length);
    assert.deepEqual(one.tasks, all);
  });
});
