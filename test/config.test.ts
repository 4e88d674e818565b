// Settings: their defaults, variables, flags and bad values, on every script.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { describe, test } from "node:test";
import * as mq from "../config.ts";
import { atOnce, bare, defaults, exec, found, freePort } from "./tools.ts";
import { flag, redis, root, script } from "./tools.ts";

const consumes = ["REDIS_URL", "QUEUE", "ORDER", "WORK_MS"];
const streams = ["REDIS_URL", "STREAM", "MQ_GROUP", "FROM"];
const uses: Record<string, string[]> = {
  "producer.ts": ["REDIS_URL", "QUEUE"],
  "consumer.ts": [...consumes, "MQ_NAME"],
  "extras/reliable-consumer.ts": [...consumes, "LEASE_MS", "MQ_NAME"],
  "extras/batch-consumer.ts": [...consumes, "BATCH", "MQ_NAME"],
  "extras/priority-consumer.ts": [...consumes, "MQ_NAME"],
  "extras/batch-producer.ts": ["REDIS_URL", "QUEUE"],
  "extras/asker.ts": ["REDIS_URL", "QUEUE", "WAIT_MS"],
  "extras/answerer.ts": ["REDIS_URL", "QUEUE", "WORK_MS", "MQ_NAME"],
  "publisher.ts": ["REDIS_URL", "CHANNEL"],
  "subscriber.ts": ["REDIS_URL", "CHANNEL", "MQ_NAME"],
  "extras/topic-subscriber.ts": ["REDIS_URL", "MQ_NAME"],
  "server.ts": ["REDIS_URL", "QUEUE", "CHANNEL", "MQ_HOST", "PORT"],
  "extras/stream-producer.ts": ["REDIS_URL", "STREAM"],
  "extras/stream-consumer.ts": [...streams, "WORK_MS", "BATCH", "MQ_NAME"],
  "extras/stream-worker.ts": [
    ...streams,
    ...["TRIES", "WORK_MS", "LEASE_MS", "MQ_NAME"],
  ],
  "extras/redis.ts": ["REDIS_URL"],
  "extras/start.ts": [...consumes, "CHANNEL", "MQ_HOST", "PORT"],
};
// What each kind of setting refuses; a name refuses "" and spaces at its ends.
const name = ["", " a", "a ", "a\t", "\u3000"];
const number = ["", "x", "-1", "0x10", "1.5", " 3000", "1e3"];
const bad: Record<string, string[]> = {
  REDIS_URL: [
    "",
    "localhost:6379",
    "http://localhost",
    "redis://",
    "redis://localhost/five",
    "redis://localhost:70000",
    "redis://:pa%ss@localhost",
    "redis://localhost/5?db=3",
    "redis://localhost/5#x",
  ],
  QUEUE: name,
  CHANNEL: name,
  STREAM: name,
  MQ_GROUP: name,
  MQ_HOST: name,
  MQ_NAME: ["", "a b", "消费者"],
  ORDER: ["", "FIFO", "random"],
  FROM: ["", "FIRST", "0"],
  WORK_MS: [...number, "3600001"],
  LEASE_MS: [...number, "999"],
  WAIT_MS: [...number, "0"],
  BATCH: [...number, "0", "10001"],
  TRIES: [...number, "0", "1001"],
  PORT: [...number, "65536"],
};
// Together they use every setting.
const checked = new Set([
  "server.ts",
  "extras/asker.ts",
  "extras/reliable-consumer.ts",
  "extras/stream-worker.ts",
  "extras/batch-consumer.ts",
]);

describe("settings", { concurrency: atOnce }, () => {
  for (const [file, names] of Object.entries(uses)) {
    test(`${file} --help says what it does, its Redis command, and exactly its settings with their defaults`, async (t) => {
      const help = script(t, file, ["--help"]);
      assert.equal(await help.status, 0);
      assert.match(
        help.out,
        /^[A-Z][^]+Redis: [^]+Run: [^]+Partner: [^]+Delivery: [^]+--redis-url/,
      );
      const takes = /^(producer|publisher|extras\/stream-producer)\.ts$/;
      assert.equal(help.out.includes("[message …]"), takes.test(file));
      const said = help.out.matchAll(
        /^(--\S+) \(or (\w+)\): .+\n +default (.*)/gm,
      );
      assert.deepEqual(
        [...said].map((found) => found.slice(1)),
        names.map((name) => [
          flag(name),
          name,
          // Both are what they are for this script.
          name === "MQ_NAME"
            ? `${basename(file, ".ts")}:${help.child.pid}`
            : file.includes("stream-consumer") && name === "BATCH"
            ? "1"
            : defaults[name],
        ]),
      );
    });

    test(`${file} names every bad setting, one line each, shows no value, and ends with status 2`, async (t) => {
      const isFlag = (i: number) => i % 2 === 0;
      const value = (name: string) =>
        name === "REDIS_URL" ? "http://:secret@localhost" : " secret";
      const wronged = script(
        t,
        file,
        names.filter((_, i) => isFlag(i))
          .map((name) => `${flag(name)}=${value(name)}`),
        Object.fromEntries(
          names.filter((_, i) => !isFlag(i))
            .map((name) => [name, value(name)]),
        ),
      );
      assert.equal(await wronged.status, 2);
      assert.equal(wronged.out, "");
      assert.ok(!wronged.err.includes("secret"), wronged.err);
      const named = wronged.err.trimEnd().split("\n")
        .map((line) => line.match(/^--[a-z-]+ \(or ([A-Z_]+)\) must/)?.[1]);
      assert.deepEqual(named.sort(), [...names].sort());
    });

    if (!checked.has(file)) continue;
    test(`${file} refuses what its settings can't be`, async (t) => {
      // Each start has one bad value of each setting.
      const most = Math.max(...names.map((name) => bad[name]!.length));
      for (let i = 0; i < most; i++) {
        const tried = names.filter((name) => bad[name]![i] !== undefined);
        const args = tried.map((name) => `${flag(name)}=${bad[name]![i]}`);
        const refused = script(t, file, args);
        assert.equal(await refused.status, 2);
        const lines = refused.err.trimEnd().split("\n");
        assert.equal(lines.length, tried.length, refused.err);
      }
    });
  }

  for (
    const [args, says] of [
      [["--colour=secret"], "Unknown option '--colour'"],
      [["--constructor=secret"], "Unknown option '--constructor'"],
      [["-z"], "Unknown option '-z'"],
      [["--redis://:secret@host"], "Unknown option '--redis://…@host'"],
      [["--queue"], "Option '--queue <value>' argument missing"],
      [
        ["redis://:secret@argument"],
        "Unexpected argument 'redis://…@argument'",
      ],
    ] as const
  ) {
    test(`${args[0]} is one line and status 2`, async (t) => {
      const wrong = script(t, "consumer.ts", [...args]);
      assert.equal(await wrong.status, 2);
      assert.ok(wrong.err.startsWith(says), wrong.err);
      assert.match(wrong.err, /^.*; see --help\n$/);
      assert.ok(!wrong.err.includes("secret"));
    });
  }

  test("REDIS_URL takes a user, a password with special characters, IPv6, TLS and no db", () => {
    for (
      const url of [
        "redis://localhost",
        "redis://u:p%40ss@host:6380/0",
        "rediss://:p@host",
        "redis://[::1]:6379/15",
        "redis://default:a@b@host/",
      ]
    ) {
      assert.equal(mq.REDIS_URL.parse(url), url);
    }
  });

  test("a password never shows, not even one with a line break in it", async (t) => {
    for (
      const url of [
        "redis://user:p\nsecret@127.0.0.1:1/5",
        "redis:/\n/user:secret@127.0.0.1:1/5",
        "redis://user:secret%ff@127.0.0.1:1/5", // not UTF-8
        "redis+cluster://user:secret%ff@127.0.0.1:1,127.0.0.1:2",
      ]
    ) {
      const wrong = script(t, "producer.ts", ["--redis-url", url]);
      assert.equal(await wrong.status, 2);
      assert.match(wrong.err, /^--redis-url \(or REDIS_URL\) must look like /);
      assert.doesNotMatch(wrong.err, /secret|user/);
    }
    for (
      const url of [
        "redis://user:p@secret@127.0.0.1:1/5",
        "redis://:se%63ret@127.0.0.1:1",
      ]
    ) {
      const lost = script(t, "producer.ts", ["--redis-url", url, "--", "7"]);
      assert.equal(await lost.status, 1);
      assert.match(
        lost.err,
        /^Cannot use Redis at redis:\/\/127\.0\.0\.1:1\S*: ECONNREFUSED/,
      );
      assert.doesNotMatch(lost.err, /secret|se%63ret|user/);
    }
  });

  test("a flag wins over a variable, an empty variable counts as unset", async (t) => {
    const server = await redis("embedded server");
    t.after(() => server.remove());
    const first = script(t, "producer.ts", ["--queue", "flag", "a"], {
      REDIS_URL: server.url,
      QUEUE: "variable",
    });
    await first.status;
    assert.equal(first.out, "lpush flag -- a (queue length 1)\n");
    const second = script(t, "producer.ts", ["a"], {
      REDIS_URL: server.url,
      QUEUE: "variable",
    });
    await second.status;
    assert.equal(second.out, "lpush variable -- a (queue length 1)\n");
    const third = script(t, "producer.ts", ["a"], {
      REDIS_URL: server.url,
      QUEUE: "",
    });
    await third.status;
    assert.equal(
      third.out,
      "lpush task:prodcons:queue -- a (queue length 1)\n",
    );
    const fourth = script(t, "publisher.ts", [
      "--redis-url",
      server.url,
      "--channel=flag",
      "--",
      "-1",
    ], { REDIS_URL: "redis://127.0.0.1:1", CHANNEL: "variable" });
    await fourth.status;
    assert.equal(fourth.out, "publish flag -- -1 (received by 0)\n");
  });

  test("MQ_HOST and PORT say where the page is, and the ready line repeats it", async (t) => {
    const server = await redis("embedded server");
    t.after(() => server.remove());
    const port = await freePort();
    const page = script(t, "server.ts", ["--port", String(port)], {
      REDIS_URL: server.url,
      PORT: "1",
      MQ_HOST: "localhost",
      HOST: "x86_64-conda-linux-gnu", // conda sets it
    });
    await page.says(`http://127.0.0.1:${port}/`);
    assert.ok(
      (await fetch(`http://localhost:${port}/`)).headers.has("content-type"),
    );
    const other = script(t, "server.ts", [], {
      REDIS_URL: server.url,
      PORT: "0",
    });
    await other.says(/http:\/\/127\.0\.0\.1:[1-9]\d*\//);
  });

  for (
    const [how, clones] of [
      ["a copy with CRLF line ends, as a downloaded zip may have,", false],
      ["a clone made by Git for Windows (core.autocrlf=true)", true],
    ] as const
  ) {
    const isClone = existsSync(join(root, ".git")) && found("git") !== "";
    const skip = clones && !isClone && "needs git, and a clone";
    test(`from ${how} --help and the board work`, { skip }, async (t) => {
      const copy = mkdtempSync(join(tmpdir(), "redis-mq crlf "));
      t.after(() => rmSync(copy, { recursive: true, force: true }));
      if (clones) {
        const clone = ["clone", "--quiet", "-c", "core.autocrlf=true"];
        execFileSync("git", [...clone, root, copy]);
        const text = readFileSync(join(copy, "producer.ts"), "utf8");
        assert.ok(!text.includes("\r"), "as .gitattributes wants it");
      } else {
        mkdirSync(join(copy, "extras"));
        const files = ["package.json", "config.ts", "server.ts", "producer.ts"];
        for (const file of [...files, "extras/board.ts", "extras/board.html"]) {
          const text = readFileSync(join(root, file), "utf8");
          const crlf = text.replace(/\r?\n/g, "\r\n");
          writeFileSync(join(copy, file), crlf);
        }
      }
      symlinkSync(
        join(root, "node_modules"),
        join(copy, "node_modules"),
        "junction",
      );
      const server = await redis("embedded server");
      t.after(() => server.remove());
      const start = (file: string, ...args: string[]) =>
        exec(t, process.execPath, ["--import", "tsx", file, ...args], {
          cwd: copy,
          env: bare({ REDIS_URL: server.url, PORT: "0" }),
        });
      const help = start("producer.ts", "--help");
      assert.equal(await help.status, 0);
      assert.match(
        help.out,
        /^Producer [^]+Delivery: [^]+--queue \(or QUEUE\)/,
      );
      assert.ok(!help.out.includes("import"), help.out);
      const board = start("extras/board.ts");
      await board.says("page at");
      const page = await fetch(board.out.match(/http:\S+/)![0]);
      const html = await page.text();
      const [, nonce] = html.match(/script-src 'nonce-(.*?)'/)!;
      assert.notEqual(nonce, "NONCE");
      assert.ok(html.includes(`<script nonce="${nonce}">`));
    });
  }
});
