// The experiments do what their text says: extras/experiment.ts performs them.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, test, type TestContext } from "node:test";
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
} from "./tools.ts";

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
  const order = "(Predict(Do)?(See))+(Why)(Try)?";
  for (const one of all) {
    const parts = one.match(/(?<=^\*\*)\w+(?=\.\*\*)/gm)!.join("");
    assert.match(parts, new RegExp(`^${order}$`), one.split("\n")[0]);
  }
});

/** Performs one, and gives what it printed. */
async function perform(t: TestContext, number: string, args: string[] = []) {
  const experiment = script(t, file, [number, ...args]);
  const status = await experiment.status;
  assert.equal(status, 0, experiment.out.slice(-3000) + experiment.err);
  return experiment.out;
}

describe("as the text says", { concurrency: atOnce * 2 }, () => {
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
        await perform(t, number, ["--port", String(server.port)]);
      });
    }
  }

  test(
    "in a terminal it asks, shows the prediction beside what happened, and the board",
    {
      skip: !found("script") && "needs script (util-linux), for a terminal",
    },
    async (t) => {
      const command = `${process.execPath} --import tsx ${file} 1 --lang en`;
      const terminal = exec(t, "script", ["-qec", command, "/dev/null"]);
      await terminal.says("Your prediction, then Enter:");
      const [address] = terminal.out.match(/http:\S+/)!;
      assert.equal((await fetch(address)).status, 200);
      terminal.child.stdin.write("d\r"); // no answer: it asks again
      await terminal.says(/(Your prediction.*){2}/s);
      terminal.child.stdin.write("c\r");
      await terminal.says("Every line is as expected.");
      await terminal.says(
        /You said: c\) neither\s+It was: +b\) only `?order 1/,
      );
      assert.equal(await terminal.status, 0);
      await assert.rejects(fetch(address));
    },
  );

  test("Ctrl-C in the middle leaves nothing running", async (t) => {
    const server = await redis(kinds[0]!);
    t.after(() => server.remove());
    const client = await look(t, server.url);
    const args = ["5", "--port", String(server.port)];
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
    const experiment = script(t, file, ["12", "--port", String(port)]);
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

  test("it lists them in the learner's language; a wrong word is status 2", async (t) => {
    const env = { LANG: "zh_CN.UTF-8", LC_ALL: undefined };
    const list = script(t, file, [], env);
    assert.equal(await list.status, 0);
    const listed = list.lines.filter((line) => /^ {2}\d/.test(line));
    assert.equal(listed.length, all.length);
    assert.equal(listed[0], "  1. 没有人在");
    const english = script(t, file, ["--lang", "en"], env);
    await english.status;
    assert.match(english.out, /^ {2}1\. Nobody is there$/m);
    for (
      const [args, said] of [
        [["99"], "99: no such experiment; npm run experiment lists them"],
        [["--lang", "fr"], "--lang must be en or zh"],
        [["--language", "en"], "Unknown option '--language'"],
      ] as const
    ) {
      const wrong = script(t, file, [...args], { LANG: "C" });
      assert.equal(await wrong.status, 2);
      assert.ok(wrong.err.startsWith(said), wrong.err);
      assert.equal(wrong.err.trim().split("\n").length, 1);
    }
  });
});
