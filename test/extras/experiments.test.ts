// The experiments do what their text says: extras/experiment.ts performs them,
// and what a learner reads, types and waits for while it does.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { stripVTControlCharacters } from "node:util";
import {
  atOnce,
  bare,
  exec,
  found,
  freePort,
  hasRedisServer,
  kinds,
  long,
  look,
  redis,
  root,
  script,
  until,
} from "../tools.ts";
import { partsOf, plain, words, wrap } from "../../extras/experiment-text.ts";

const file = "extras/experiment.ts";
const read = (name: string) =>
  readFileSync(join(root, name), "utf8").replaceAll("\r\n", "\n");
const texts = {
  en: read("extras/experiments.md"),
  zh: read("extras/experiments.zh-CN.md"),
};
const all = texts.en.split(/^## /m).filter((one) => /^\d/.test(one));
/** How often it compares: once for each See with something to compare. */
const comparisons = (text: string) =>
  text.match(/^\*\*See\.\*\*(?:(?!\n\*\*(?:Why|Predict)).)*?```text/gms)
    ?.length ?? 0;
const needsServer = (text: string) => /`redis-(server|cli) /.test(text);

test("both languages have the same steps, outputs and answers", () => {
  const shape = (text: string) =>
    text.split("\n").flatMap((line) => {
      const [step] = line.match(/^\d+\. \*\*/) ?? [];
      const letters = line.match(/(?<=\*\*)[A-Z](?=[A-Z、, ]*\*\*)/g) ?? [];
      const codes = step ? line.match(/`[^`]+`/g) ?? [] : [];
      const answer = line.match(/^- [a-z]\)|(?<=^\*\*\S+\*\* )[a-c]\) /g) ?? [];
      return [step ?? "", ...letters, ...codes, ...answer].filter(Boolean);
    });
  const blocks = (text: string) => text.match(/^```.*?^```$/gms);
  assert.ok(shape(texts.en).length > 200);
  assert.deepEqual(shape(texts.zh), shape(texts.en));
  assert.deepEqual(blocks(texts.zh), blocks(texts.en));
  const parts = (one: string, said = words.en) =>
    partsOf(one, said).map(({ part }) => part).join("");
  const inChinese = texts.zh.split(/^## /m).filter((one) => /^\d/.test(one));
  for (const [i, one] of all.entries()) {
    assert.match(parts(one), /^(PredictDoSee)+Why(TryAnswer)?$/);
    assert.equal(parts(inChinese[i]!, words.zh), parts(one));
    for (const text of [one, inChinese[i]!]) { // who acknowledges, says how
      assert.equal(text.includes("XACK"), text.startsWith("11. "));
    }
  }
});

test("lines fit a terminal of 60 or 80 columns, where a Chinese character takes two; no word stands alone", () => {
  const cells = (row: string) =>
    row.replace(/[\p{sc=Han}\u3000-\u303f\uff00-\uff60]/gu, "__").length;
  for (const [lang, text] of Object.entries(texts)) {
    for (const width of [60, 80]) {
      for (
        const line of plain(text.replace(/^```.*?^```$/gms, "")).split("\n")
      ) {
        const rows = wrap(line, width).split("\n");
        assert.deepEqual(rows.filter((row) => cells(row) > width), [], lang);
        if (rows.length < 2) continue;
        // Nothing is lost but the spaces between rows.
        const bare = (all: string) => all.replace(/\s/g, "");
        assert.equal(bare(rows.join("")), bare(line));
        assert.ok(cells(rows.at(-1)!.trim()) > 5, rows.join("|"));
      }
    }
  }
});

/** Performs one, and gives what it printed. */
async function perform(t: TestContext, number: string, args: string[] = []) {
  const experiment = script(t, file, [number, ...args]);
  const status = await experiment.status;
  assert.equal(status, 0, experiment.out.slice(-3000) + experiment.err);
  return experiment.out;
}

// Most of the time they wait: for work that takes some time, for a lease.
describe("as the text says", { concurrency: atOnce * 3 }, () => {
  test("what the text does not say is status 1, with both beside each other", async (t) => {
    const dir = mkdtempSync(join(tmpdir(), "redis-mq-"));
    t.after(() => rmSync(dir, { recursive: true }));
    const text = join(dir, "text.md");
    writeFileSync(text, texts.en.replace("(received by 1)", "(received by 7)"));
    const experiment = script(t, file, ["1", "--lang", "en", "--text", text]);
    assert.equal(await experiment.status, 1);
    assert.match(experiment.out, /This is not as expected: A/);
    for (const said of ["(received by 7)", "(received by 1)"]) {
      assert.ok(experiment.out.includes(said), said);
    }
  });

  for (const one of all) {
    const [number] = one.split(".") as [string];
    const count = comparisons(one);
    const skip = needsServer(one) && !hasRedisServer &&
      "needs redis-server and redis-cli on the PATH";
    // A short run takes each in one language, a long one in both.
    const odd = Number(number) % 2 === 1;
    for (const lang of long ? ["en", "zh"] : [odd ? "en" : "zh"]) {
      test(`experiment ${number}, ${lang}`, { skip }, async (t) => {
        const out = await perform(t, number, ["--lang", lang]);
        const same = lang === "en"
          ? "Every line is as expected."
          : "每一行都和预期的一样。";
        assert.equal(out.split(same).length - 1, count);
        // Nobody has asked for the answer. What is waited for is said first.
        assert.doesNotMatch(out, /^(Answer|答案)$/m);
        const waits =
          /^\w(?:, \w)* (?:waits until it prints: |等到打印出：)(.*)$/gm;
        for (const { 1: line, index } of out.matchAll(waits)) {
          const begin = line!.split(/[…,]/)[0]!;
          assert.ok(out.indexOf(` ${begin}`, index) > index, begin);
        }
        if (number !== "4") return;
        // … 10.2 s behind the first wait, … 3.6 s behind the second.
        const [alone, three] = [...out.matchAll(/^… ([\d.]+) s$/gm)]
          .map(([, seconds]) => Number(seconds));
        assert.ok(three! < alone! * 2 / 3, `one ${alone} s, three ${three} s`);
      });
    }
    if (long && count && !needsServer(one)) {
      test(`experiment ${number}, on ${kinds[0]}`, async (t) => {
        const server = await redis(kinds[0]!);
        t.after(() => server.remove());
        await perform(t, number, ["--redis-port", String(server.port)]);
      });
    }
  }

  const skip = !found("script") && "needs script (util-linux), for a terminal";
  /** Runs it in a terminal of 60 columns. */
  function terminal(t: TestContext, words: string, env = {}) {
    const command = `stty cols 60; ${process.execPath} --import tsx ${file}`;
    const args = ["-qec", `${command} ${words}`, "/dev/null"];
    const self = exec(t, "script", args, { env: bare(env) });
    const type = (line: string) => self.child.stdin.write(`${line}\r`);
    return Object.assign(self, { type });
  }

  test(
    "in a terminal it shows the prediction beside what happened, the answer when asked for, and waits at the end",
    { skip },
    async (t) => {
      const port = await freePort();
      const learner = terminal(t, `1 en --port ${port}`);
      await learner.says(
        "Your prediction (a, b, or c; or none), then Enter:",
      );
      const board = `http://127.0.0.1:${port}/`;
      assert.match(learner.out, new RegExp(`page at ${board}\r`));
      assert.equal((await fetch(board)).status, 200);
      learner.type("d"); // no answer: it says again what it takes
      await learner.says(/(a, b, or c.*){2}/s);
      learner.type("ｃ）");
      await learner.says(/You said: c\) neither\s+It was: +b\) only order 1/);
      await learner.says("Enter shows the answer.");
      assert.doesNotMatch(learner.out, /^Answer/m);
      learner.type("");
      await learner.says(/Answer\S*\s+received by 2, and both get news 2/);
      await learner.says("Enter ends it.");
      assert.equal(learner.out.match(/ｃ/g)!.length, 1);
      const rows = stripVTControlCharacters(learner.out).split(/\r*\n/);
      assert.deepEqual(rows.filter((row) => row.length > 60), []);
      assert.equal((await fetch(board)).status, 200); // it has not ended
      learner.type("");
      assert.equal(await learner.status, 0);
      await assert.rejects(fetch(board));
    },
  );

  test(
    "it takes prose where no answers are given, and starts nothing where nothing is done",
    { skip },
    async (t) => {
      const learner = terminal(t, "7 zh");
      await learner.says("用自己的话说");
      learner.type("改 Redis 的地址");
      await learner.says("你猜的：改 Redis 的地址");
      await learner.says("按回车看答案");
      assert.doesNotMatch(
        learner.out,
        /listens|page at|REDIS_URL=redis:.*localhost/,
      );
      learner.type("");
      await learner.says("按回车结束");
      learner.type("");
      assert.equal(await learner.status, 0);
    },
  );

  test(
    "no board is offered for what it does not draw; the page has another port only where its own is taken",
    { skip },
    async (t) => {
      const other = createServer().listen(await freePort(), "127.0.0.1");
      await once(other, "listening");
      t.after(() => other.close());
      const { port } = other.address() as { port: number };
      for (const number of ["9", "11", "3"]) {
        const learner = terminal(t, `${number} en --port ${port}`);
        await learner.says("Your prediction");
        const isOffered = learner.out.includes("See it move");
        assert.equal(isOffered, number === "3");
        assert.equal(learner.out.includes(`${port} is taken`), isOffered);
        learner.child.stdin.write("\x03"); // Ctrl-C
        assert.equal(await learner.status, 130);
      }
    },
  );

  test("it lists them in the learner's language, which is asked for where the locale is neither; a wrong word is status 2", async (t) => {
    const list = async (locale: string, ...args: string[]) => {
      const env = { LANG: locale, LC_ALL: undefined, LC_MESSAGES: undefined };
      // npm keeps --lang for itself, and what is behind -- not.
      const self = args.includes("--lang")
        ? exec(t, "npm", ["run", "-s", "experiment", ...args], {
          env: bare(env),
        })
        : script(t, file, args, env);
      assert.equal(await self.status, 0, self.err);
      const listed = self.lines.filter((line) => /^ {2}\d/.test(line));
      assert.equal(listed.length, all.length);
      return listed[0]!.slice(5);
    };
    const [zh, en] = ["没有人在", "Nobody is there"];
    assert.equal(await list("zh_CN.UTF-8"), zh);
    assert.equal(await list("zh_CN.UTF-8", "en"), en);
    assert.equal(await list("de_DE.UTF-8"), en); // a pipe: nobody to ask
    assert.equal(await list("C", "--lang", "zh"), zh);
    assert.equal(await list("C", "--", "--lang", "zh"), zh);
    for (
      const [args, status, said] of [
        [["99"], 2, "99: no such experiment; npm run experiment lists them"],
        [["1", "fr"], 2, "fr: no such experiment"],
        [["--lang", "fr"], 2, "--lang (or MQ_LANG) must be en or zh"],
        [["--language", "en"], 2, "Unknown option '--language'"],
        [["--help"], 0, "Experiment: performs what experiments.md says"],
      ] as const
    ) {
      const one = script(t, file, [...args], { LC_ALL: "C" });
      assert.equal(await one.status, status);
      assert.ok((one.err + one.out).startsWith(said), one.err);
      assert.equal(one.err.split("\n").length, status === 0 ? 1 : 2);
    }
    if (skip) return;
    const learner = terminal(t, "", { LC_ALL: "C" });
    await learner.says("English: en  中文: zh");
    learner.type("zh");
    await learner.says(zh);
    assert.equal(await learner.status, 0);
  });

  test("what goes wrong before it begins is one line", async (t) => {
    const other = createServer().listen(await freePort(), "127.0.0.1");
    await once(other, "listening");
    t.after(() => other.close());
    const { port } = other.address() as { port: number };
    // Where tsx wants no folder, either.
    const TMPDIR = join(root, "package.json");
    const env = { TMPDIR, TSX_DISABLE_CACHE: "1", LC_ALL: "C" };
    const folder = script(t, file, ["1"], env);
    assert.equal(await folder.status, 1);
    assert.match(folder.err, /^Cannot use the folder \S+: \w+\n$/);
    const taken = script(t, file, ["1", "--redis-port", `${port}`]);
    assert.equal(await taken.status, 1);
    assert.match(
      taken.out + taken.err,
      /^1\. .*\nR \$ .*\nR Something else has .*\n$/,
    );
  });

  test("Ctrl-C in the middle leaves nothing running", async (t) => {
    const server = await redis(kinds[0]!);
    t.after(() => server.remove());
    const client = await look(t, server.url);
    const args = ["5", "--redis-port", String(server.port)];
    const experiment = script(t, file, args);
    await experiment.says("A Task get order 1");
    assert.ok((await client.clientList()).length > 1);
    assert.equal(await experiment.end("SIGINT"), 130);
    await until(
      "no client but ours",
      async () => (await client.clientList()).length === 1,
      5000,
    );
  });

  test("its own Redis and the board's end with it, also when it is killed by SIGTERM", async (t) => {
    const port = await freePort();
    const experiment = script(t, file, ["12", "--redis-port", String(port)]);
    await experiment.says("B Task get 1");
    await experiment.end("SIGTERM");
    const answers = () =>
      new Promise((resolve) => {
        const socket = createConnection(port, "127.0.0.1");
        socket.on("connect", () => resolve(true));
        socket.on("error", () => resolve(false)).on("connect", socket.destroy);
      });
    await until("nobody at its port", async () => !await answers(), 5000);
  });

  test("without redis-server it shows that part and goes on", async (t) => {
    const experiment = exec(
      t,
      process.execPath,
      ["--import", "tsx", file, "13", "--lang", "en"],
      { env: bare({ PATH: dirname(process.execPath) + "/none" }) },
    );
    assert.equal(await experiment.status, 0, experiment.err);
    assert.match(experiment.out, /redis-server is not installed/);
    assert.match(experiment.out, /WAIT had said so/);
    assert.doesNotMatch(experiment.out, /Every line/);
  });
});
