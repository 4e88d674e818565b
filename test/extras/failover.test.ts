// A master dies, and no script is started again: with one address in front of
// several (Sentinel and HAProxy), and on a cluster.
//
// SOAK=1 adds what takes longer; LONG=1 does all, nine rounds of each: 40 min.

import assert from "node:assert/strict";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "redis";
import {
  exec,
  found,
  freePort,
  long,
  look,
  names,
  redis,
  root,
  script,
  until,
} from "../tools.ts";

const needed = ["redis-server", "redis-sentinel", "haproxy"];
const missing = needed.filter((command) => !found(command)).join(", ");
const skip = missing !== "" && `needs ${missing} on the PATH`;
const rounds = process.env.LONG ? 9 : 1;
const rarely = !long && !process.env.LONG &&
  "SOAK=1 and LONG=1 do this, too";

// As README's paragraph on high availability has them, but for the ports.
const sentinel = `
sentinel monitor mq 127.0.0.1 6381 2
sentinel down-after-milliseconds mq 2000
sentinel failover-timeout mq 10000
`;
const haproxy = `
defaults
  mode tcp
  timeout connect 1s
  timeout check 1s
  timeout client 1h
  timeout server 1h

listen redis
  bind 127.0.0.1:6379
  option tcp-check
  tcp-check send "INFO replication\\r\\n"
  tcp-check expect string role:master
  default-server check inter 500ms fall 2 on-marked-down shutdown-sessions
  server a 127.0.0.1:6381
  server b 127.0.0.1:6382
  server c 127.0.0.1:6383
`;

/** A master, two replicas, three sentinels and one address before them. */
async function several(t: TestContext, ...options: string[]) {
  const dir = mkdtempSync(join(tmpdir(), "redis-mq-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const ports = new Map<string, number>();
  for (const port of ["6379", "6381", "6382", "6383"]) {
    ports.set(port, await freePort());
  }
  const config = (name: string, text: string) => {
    const file = join(dir, name);
    writeFileSync(
      file,
      text.replace(/\b63\d\d\b/g, (port) => String(ports.get(port))),
    );
    return file;
  };
  const server = (port: string) =>
    exec(t, "redis-server", [
      ...["--port", String(ports.get(port)), "--bind", "127.0.0.1"],
      ...["--dir", dir, "--dbfilename", `${port}.rdb`, "--save", ""],
      ...["--repl-diskless-sync-delay", "0", ...options],
      ...port === "6381"
        ? []
        : ["--replicaof", "127.0.0.1", String(ports.get("6381"))],
    ]);
  const servers = new Map(
    ["6381", "6382", "6383"].map((port) => [ports.get(port)!, server(port)]),
  );
  await Promise.all(
    [...servers.values()].map((one) => one.says("Ready to accept")),
  );
  const masterOf = [...servers.values()][0]!;
  await until(
    "both replicas",
    () => masterOf.out.match(/Synchronization with replica .*succeeded/g)?.[1],
  );
  const sentinels: number[] = [];
  for (const name of ["1", "2", "3"]) {
    const port = await freePort();
    sentinels.push(port);
    const own = `port ${port}\nbind 127.0.0.1\ndir "${dir}"\n`;
    exec(t, "redis-sentinel", [config(`s${name}.conf`, own + sentinel)]);
  }
  const asked = await until(
    "a sentinel",
    () => look(t, `redis://127.0.0.1:${sentinels[0]}`).catch(() => null),
  );
  // As text: node-redis has its commands for it in another kind of client.
  const ask = (...words: string[]) => asked.sendCommand(["SENTINEL", ...words]);
  await until("the sentinels have met", async () => {
    const info = String(await asked.sendCommand(["INFO", "sentinel"]));
    return info.includes("slaves=2,sentinels=3");
  });
  const front = exec(t, "haproxy", ["-db", "-f", config("ha.cfg", haproxy)]);
  await front.says("Server redis/b is DOWN");
  await front.says("Server redis/c is DOWN");
  const master = async () =>
    Number(
      (await ask("GET-MASTER-ADDR-BY-NAME", "mq") as unknown as string[])[1],
    );
  return {
    url: `redis://127.0.0.1:${ports.get("6379")}/0`,
    master,
    /** The process of the master. */
    async process() {
      return servers.get(await master())!.child;
    },
    planned: () => ask("FAILOVER", "mq"),
  };
}

/** Counts what `act` costs under one push and one publish a millisecond. */
async function count(
  t: TestContext,
  what: string,
  REDIS_URL: string,
  act: (QUEUE: string) => Promise<string[] | void>,
) {
  const { CHANNEL, ...name } = names();
  const QUEUE = `{${name.QUEUE}}`; // one slot of a cluster for all its lists
  const env = { REDIS_URL, QUEUE, CHANNEL, LEASE_MS: "4000" };
  const other = { ...env, QUEUE: `${QUEUE}:2`, PORT: "0" };
  const reliable = ["1", "2"].map(() =>
    script(t, "extras/reliable-consumer.ts", [], env)
  );
  const subscriber = script(t, "subscriber.ts", [], env);
  const plain = ["consumer.ts", "extras/batch-consumer.ts"].map((file) =>
    script(t, file, [], other)
  );
  const page = script(t, "server.ts", [], other);
  const all = [...reliable, subscriber, ...plain, page];
  await Promise.all(all.map((one) => one.says(/listen |page at/)));

  const pusher = script(t, "test/pusher.ts", [], env);
  await pusher.says("ok 1000 ");
  // Longer than it takes to call a silence a break: there is none.
  await sleep(6000);
  for (const one of all) assert.equal(one.err, "");
  const more = await act(QUEUE) ?? [];
  pusher.child.kill("SIGTERM");
  await pusher.says(/^end$/m);

  const said = (word: string) =>
    pusher.lines.map((line) => line.split(" "))
      .filter((words) => words[0] === word);
  const acknowledged = [...more, ...said("ok").map((words) => words[1]!)];
  const times = said("ok").map((words) => Number(words[2]))
    .sort((a, b) => a - b);
  const gap = Math.max(
    ...times.slice(1).map((time, i) => time - times[i]!),
  );
  const got = () => reliable.flatMap((one) => one.tasks);
  const lost = () => {
    const there = new Set(got());
    return acknowledged.filter((task) => !there.has(task));
  };
  // All is there, or nothing has come for a while.
  let before = -1;
  while (lost().length > 0 && got().length > before) {
    before = got().length;
    await sleep(5000);
  }
  const heard = new Set(subscriber.tasks);
  const missed = said("pub").filter((words) => !heard.has(words[1]!)).length;
  const twice = got().length - new Set(got()).size;
  t.diagnostic(
    `${what}: acknowledged ${acknowledged.length}, lost ${lost().length}, ` +
      `twice ${twice}, gap ${gap} ms, ` +
      `subscriber missed ${missed} of ${said("pub").length}` +
      (more.length > 0
        ? `; ${more.length} by new connections, lost of those ` +
          lost().filter((task) => more.includes(task)).length
        : ""),
  );

  // Nobody has to be started again, and nobody has gone.
  const address = page.out.match(/http\S+/)![0];
  const clicks = () => plain.reduce((sum, one) => sum + one.tasks.length, 0);
  await until("the page and its consumers", async () => {
    const before = clicks();
    const answer = await fetch(new URL("/prodcons", address), {
      redirect: "manual",
      headers: { "sec-fetch-site": "same-origin" },
    });
    if (answer.status !== 302) return false;
    await until("the click", () => clicks() > before, 5000).catch(() => {});
    return clicks() > before;
  });
  for (const one of all) {
    assert.equal(one.child.exitCode, null, one.err);
    one.child.kill("SIGKILL");
  }
  return { acknowledged: acknowledged.length, lost: lost(), gap };
}

/** Until there is another master, and the old one, if it lives, knows it. */
async function another(
  front: Awaited<ReturnType<typeof several>>,
  was: number,
  { lives = true } = {},
) {
  await until("another master", async () => await front.master() !== was);
  if (lives) {
    await until(
      "the old master to follow the new one",
      async () => {
        // Sentinel closes its connections when it is told.
        const url = `redis://127.0.0.1:${was}`;
        const old = createClient({ url, socket: { reconnectStrategy: false } });
        const info = await old.on("error", () => {}).connect()
          .then(() => old.info("replication")).catch(() => "");
        if (old.isOpen) old.destroy();
        return info.includes("role:slave");
      },
      60_000,
    );
  }
  await sleep(3000);
}

describe("one address in front of several", { skip, concurrency: 1 }, () => {
  for (let round = 1; round <= rounds; round++) {
    test(`kill -9 of the master: no acknowledged message is lost, no script is started again (${round})`, async (t) => {
      const front = await several(t);
      const { lost, gap } = await count(t, "kill -9", front.url, async () => {
        const was = await front.master();
        (await front.process()).kill("SIGKILL");
        await another(front, was, { lives: false });
      });
      assert.deepEqual(lost, []);
      // 3 to 4 s; a vote of the sentinels that ends in a tie costs 20 s more,
      // twice the failover-timeout. That is Sentinel's, not the scripts'.
      assert.ok(gap < 30_000, `${gap} ms`);
    });

    test(`a planned failover: no script is started again (${round})`, {
      skip: rarely,
    }, async (t) => {
      const front = await several(t);
      const { acknowledged } = await count(
        t,
        "SENTINEL FAILOVER",
        front.url,
        async () => {
          const was = await front.master();
          await front.planned();
          await another(front, was);
        },
      );
      assert.ok(acknowledged > 1000);
    });

    for (
      const [title, ...options] of [
        ["may lose"],
        [
          "with min-replicas-to-write 1 loses nothing",
          ...["--min-replicas-to-write", "1", "--min-replicas-max-lag", "3"],
        ],
      ] as const
    ) {
      test(
        `a master that freezes for 10 s ${title}; no script is started again (${round})`,
        {
          skip: options.length > 0
            ? rarely
            : !process.env.LONG && "LONG=1 does this, too",
        },
        async (t) => {
          const front = await several(t, ...options);
          const { acknowledged, lost } = await count(
            t,
            `frozen 10 s ${options.join(" ")}`,
            front.url,
            async (QUEUE) => {
              const was = await front.master();
              const master = await front.process();
              master.kill("SIGSTOP");
              await sleep(10_000);
              master.kill("SIGCONT");
              // Awake again, it still says that it is the master, for a while:
              // to whom connects anew, as a producer does, and to nobody else.
              let over = false;
              const more: string[] = [];
              const fresh = async () => {
                for (let number = 0; !over; number++) {
                  const client = createClient({
                    url: front.url,
                    socket: { reconnectStrategy: false },
                  });
                  const task = `new ${number}`;
                  await client.on("error", () => {}).connect()
                    .then(() => client.lPush(QUEUE, task))
                    .then(() => more.push(task)).catch(() => {});
                  if (client.isOpen) client.destroy();
                  await sleep(20);
                }
              };
              const pushed = fresh();
              await another(front, was);
              over = true;
              await pushed;
              assert.ok(more.length > 10, "who connects anew can push");
              return more;
            },
          );
          assert.ok(acknowledged > 1000);
          if (options.length > 0) assert.deepEqual(lost, []);
        },
      );
    }
  }
});

describe("a cluster", {
  skip: !(found("redis-server") && found("redis-cli")) &&
    "needs redis-server and redis-cli on the PATH",
  concurrency: 1,
}, () => {
  const part2 = existsSync(join(root, "extras/stream-consumer.ts"));
  async function cluster(t: TestContext, ...args: string[]) {
    const port = await freePort();
    const at = `redis+cluster://127.0.0.1:${port}`;
    // First in line: SIGKILL, which follows, would leave its six servers.
    t.after(() => self?.end("SIGTERM"));
    const self = script(t, "extras/cluster.ts", ["--redis-url", at, ...args]);
    await self.says("Enter kills");
    const url = self.out.match(/redis\+cluster:\S+/)![0];
    return { port, self, url };
  }
  async function line(
    t: TestContext,
    file: string,
    args: string[],
    env: Record<string, string>,
  ) {
    const one = script(t, file, args, env);
    const status = await one.status;
    return { status, out: one.out, err: one.err };
  }

  for (let round = 1; round <= rounds; round++) {
    test(`kill -9 of the queue's master: no acknowledged message is lost, no script is started again (${round})`, async (t) => {
      // As names() in count() will call it.
      const { QUEUE } = names();
      const next = QUEUE.replace(/\d+$/, (n) => String(Number(n) + 1));
      const { self, url } = await cluster(t, "--queue", `{${next}}`);
      const { lost, gap } = await count(
        t,
        "kill -9 in a cluster",
        url,
        async () => {
          self.child.stdin.write("\n");
          await self.says("is the master now");
          await sleep(3000);
        },
      );
      assert.deepEqual(lost, []);
      assert.ok(gap < 10_000, `${gap} ms`);
    });
  }

  test("who starts, or connects anew, between a master's death and its replica's election goes on, though the dead one stays dead", async (t) => {
    const { QUEUE, CHANNEL } = names();
    const { port, url } = await cluster(t, "--queue", QUEUE);
    const env = { REDIS_URL: url, QUEUE, CHANNEL };
    const ports = [0, 1, 2, 3, 4, 5].map((i) => port + i);
    const nodes = await Promise.all(
      ports.map((port) => look(t, `redis://127.0.0.1:${port}`)),
    );
    for (const node of nodes) {
      await node.configSet("cluster-node-timeout", "8000");
    }
    const slot = await nodes[0]!.clusterKeySlot(QUEUE);
    const slots = await nodes[0]!.clusterSlots();
    const { master } = slots.find(({ from, to }) =>
      from <= slot && slot <= to
    )!;
    const old = nodes[master.port - port]!;
    const pid = Number(
      (await old.info("server")).match(/process_id:(\d+)/)![1],
    );

    const subscriber = script(t, "subscriber.ts", [], env);
    await subscriber.says("listen");
    process.kill(pid, "SIGSTOP");
    await subscriber.says("Waiting for Redis"); // it connects anew
    process.kill(pid, "SIGKILL");
    const consumer = script(t, "consumer.ts", [], env);
    await subscriber.says("Redis is there.");
    await consumer.says("listen");
    const sent = await line(t, "producer.ts", ["on"], env);
    assert.equal(sent.status, 0, sent.err);
    await consumer.says("Task get on");
    await until("the subscriber", async () => {
      await line(t, "publisher.ts", ["heard"], env);
      return subscriber.tasks.includes("heard");
    });
    // Of what it tried in between, nothing is left.
    const others = nodes.filter((node) => node !== old);
    await until("one connection of each script to a node", async () => {
      const lists = await Promise.all(others.map((node) => node.clientList()));
      // Not of masters, replicas, subscriptions: ours and one of each script.
      return lists.every((list) =>
        list.filter(({ flags }) => !/[MSP]/.test(flags)).length <= 3
      );
    });
  });

  test(
    "a master that freezes for 20 s, with nobody elected, is told once, and so is its return",
    async (t) => {
      const { QUEUE, CHANNEL } = names();
      const { port, url } = await cluster(t, "--queue", QUEUE);
      const env = { REDIS_URL: url, QUEUE, CHANNEL };
      for (const i of [0, 1, 2, 3, 4, 5]) {
        const node = await look(t, `redis://127.0.0.1:${port + i}`);
        await node.configSet("cluster-node-timeout", "60000");
      }
      const masters = (await (await look(t, `redis://127.0.0.1:${port}`))
        .clusterSlots()).map(({ master }) => master.port);
      const frozen = await look(t, `redis://127.0.0.1:${masters[1]}`);
      const info = await frozen.info("server");
      const pid = Number(info.match(/process_id:(\d+)/)![1]);
      const two = ["consumer.ts", "subscriber.ts"].map((file) =>
        script(t, file, [], env)
      );
      for (const self of two) await self.says("listen");
      process.kill(pid, "SIGSTOP");
      t.after(() => process.kill(pid, "SIGCONT"));
      await sleep(20_000); // this is what is tested, not a wait for something
      process.kill(pid, "SIGCONT");
      for (const self of two) {
        await self.says("Redis is there.");
        const said = self.err.split("\n").filter((line) => line);
        assert.match(said[0]!, /^Waiting for Redis at /);
        assert.ok(said.length <= 3, self.err);
      }
    },
  );

  test("every script runs on it, and what cannot work ends with one line", {
    skip: rarely,
  }, async (t) => {
    const { port, url } = await cluster(t);
    const env = { REDIS_URL: url };
    const single = await redis("redis-server");
    t.after(single.remove);

    // Each pair: who takes, who sends, what is seen. All at once.
    const pairs: [string, string[], string, string[], string | RegExp][] = [
      ["consumer.ts", [], "producer.ts", ["m1"], "Task get m1"],
      ["extras/batch-consumer.ts", [], "producer.ts", ["m2"], "Task get m2"],
      ["extras/reliable-consumer.ts", [], "producer.ts", ["m3"], "Task get m3"],
      ["subscriber.ts", [], "publisher.ts", ["m4"], "Task get m4"],
      ...(part2
        ? [
          ["extras/priority-consumer.ts", [], "producer.ts", ["m5"], "get m5"],
          ["extras/topic-subscriber.ts", [], "publisher.ts", ["m6"], "m6"],
          ["extras/answerer.ts", [], "extras/asker.ts", ["m7"], "Task get m7"],
          [
            "extras/stream-consumer.ts",
            [],
            "extras/stream-producer.ts",
            ["m8"],
            "get m8",
          ],
          [
            "extras/stream-worker.ts",
            [],
            "extras/stream-producer.ts",
            ["m9"],
            "get m9",
          ],
        ] as [string, string[], string, string[], string][]
        : []),
    ];
    await Promise.all(pairs.map(async ([taker, flags, sender, args, seen]) => {
      const { QUEUE, CHANNEL } = names();
      const own = {
        ...env,
        CHANNEL,
        QUEUE: `{${QUEUE}}`,
        STREAM: `{stream:${QUEUE}}`,
      };
      const one = script(t, taker, flags, own);
      await one.says("listen ");
      let other = await line(t, sender, args, own);
      assert.equal(other.status, 0, `${sender}: ${other.err}`);
      assert.equal(other.err, "");
      await one.says(seen);
      // A subscriber that has just moved to another node counts at both.
      while (taker === "subscriber.ts" && !/received by 1/.test(other.out)) {
        other = await line(t, sender, args, own);
      }
      one.child.kill("SIGKILL");
    }));

    const nobody = await freePort();
    const at = (nodes: string) => ({ REDIS_URL: `redis+cluster://${nodes}` });
    const one = `127.0.0.1:${port}`;
    const dead = `127.0.0.1:${nobody}`;
    const ends: [RegExp, string, Record<string, string>][] = [
      [/^Cannot use Redis at redis\+cluster:.*ECONNREFUSED/, "producer.ts", {
        ...at(`someone:secret@${dead}`),
      }],
      [/^Cannot use Redis at .*: WRONGPASS/, "producer.ts", {
        ...at(`someone:secret@${one}`),
      }],
      [
        /^Cannot use Redis at .*: ERR This instance has cluster support disabled/,
        "consumer.ts",
        { ...at(`127.0.0.1:${single.port}`) },
      ],
      [/ must look like .*; see --help$/, "producer.ts", {
        ...at("u:secret@a:99999"),
      }],
      [/: no host:port: b:99999$/, "producer.ts", { ...at("a:1,b:99999") }],
    ];
    await Promise.all(ends.map(async ([said, file, own]) => {
      const { status, err } = await line(t, file, [], own);
      assert.match(err.trimEnd(), said);
      assert.equal(err.trimEnd().split("\n").length, 1, err);
      assert.ok(!err.includes("secret"), err);
      assert.notEqual(status, 0);
    }));
    // A dead first address is no reason to end.
    const sent = await line(t, "producer.ts", ["there"], at(`${dead},${one}`));
    assert.deepEqual([sent.status, sent.err], [0, ""]);
  });

  test("without redis-server extras/cluster.ts ends with one line, and leaves no files", async (t) => {
    const tmp = mkdtempSync(join(tmpdir(), "redis-mq-"));
    t.after(() => rmSync(tmp, { recursive: true, force: true }));
    const one = script(t, "extras/cluster.ts", [], { PATH: tmp, TMPDIR: tmp });
    assert.equal(await one.status, 1);
    assert.match(one.err, /^needs redis-server .*\n$/);
    // tsx keeps its cache there, too.
    assert.deepEqual(
      readdirSync(tmp).filter((name) => name.startsWith("redis-mq")),
      [],
    );
  });
});
