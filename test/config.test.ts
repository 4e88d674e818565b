// Settings: their defaults, variables, flags and bad values, of the six files.

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
import { join } from "node:path";
import { describe, test } from "node:test";
import * as mq from "../config.ts";
import { testSettings } from "./settings.ts";
import { atOnce, bare, exec, found, freePort } from "./tools.ts";
import { redis, root, script } from "./tools.ts";

const uses = {
  "producer.ts": ["REDIS_URL", "QUEUE"],
  "consumer.ts": ["REDIS_URL", "QUEUE", "ORDER", "WORK_MS", "MQ_NAME"],
  "publisher.ts": ["REDIS_URL", "CHANNEL"],
  "subscriber.ts": ["REDIS_URL", "CHANNEL", "MQ_NAME"],
  "server.ts": ["REDIS_URL", "QUEUE", "CHANNEL", "MQ_HOST", "PORT"],
};
// What each kind of setting refuses; extras use mq.text and mq.whole, too.
const name = ["", " a", "a ", "a\t", "\u3000"];
const number = ["", "x", "-1", "0x10", "1.5", " 3000", "1e3"];
const { REDIS_URL, QUEUE, CHANNEL, ORDER, WORK_MS, PORT, MQ_HOST, MQ_NAME } =
  mq;
const bad = [
  [REDIS_URL, [
    "",
    "localhost:6379",
    "http://localhost",
    "redis://",
    "redis://localhost/five",
    "redis://localhost:70000",
    "redis://:pa%ss@localhost",
    "redis://localhost/5?db=3",
    "redis://localhost/5#x",
  ]],
  [QUEUE, name],
  [CHANNEL, name],
  [MQ_HOST, name],
  [MQ_NAME, ["", "a b", "消费者"]],
  [ORDER, ["", "FIFO", "random"]],
  [WORK_MS, [...number, "3600001"]],
  [PORT, [...number, "65536"]],
] as const;

describe("settings", { concurrency: atOnce }, () => {
  testSettings(uses);

  for (const [setting, values] of bad) {
    test(`${setting.description} can't be ${values.join(", ")}`, () => {
      for (const value of values) {
        assert.ok(!setting.safeParse(value).success, value);
      }
    });
  }

  for (
    const [args, says] of [
      [["--colour=secret"], "Unknown option '--colour'"],
      [["--constructor=secret"], "Unknown option '--constructor'"],
      [["-z"], "Unknown option '-z'"],
      [["--redis://:secret@host"], "Unknown option '--redis://host'"],
      [["--queue"], "Option '--queue <value>' argument missing"],
      [
        ["redis://:secret@argument"],
        "Unexpected argument 'redis://argument'",
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
        "redis://user:secret@127.0.0.1:1,127.0.0.1:2", // no cluster: one host
      ]
    ) {
      const wrong = script(t, "producer.ts", ["--redis-url", url]);
      assert.equal(await wrong.status, 2);
      assert.match(
        wrong.err,
        /^--redis-url \(or REDIS_URL\) must look like redis:..localhost:6379.5;/,
      );
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
    await page.says(`http://localhost:${port}/`);
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
        /^Producer: [^]+Delivery: [^]+--queue \(or QUEUE\)/,
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
