// The experiments of extras/experiments.md do what they say, in both languages.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import {
  bare,
  exec,
  look,
  names,
  onEachRedis,
  type Program,
  type Redis,
  root,
  until,
} from "./tools.ts";

const read = (file: string) =>
  readFileSync(join(root, file), "utf8").replaceAll("\r\n", "\n");
const en = read("extras/experiments.md");
const zh = read("extras/experiments.zh-CN.md");

/** The steps of one experiment, in their order: a bold line names the terminal, a block behind it what is typed or printed there. */
function steps(text: string, number: number) {
  const part = text.split(`<!-- experiment ${number} -->`)[1]!.split(
    "<!-- experiment",
  )[0]!;
  const step =
    /^\*\*(?:Terminal|终端) ([A-Z])([^*\n]*)\*\*$(?:\n\n```(\w+)\n(.*?)\n```$)?|^(?:Wait until|等到) `([^`]+)`/gms;
  return [...part.matchAll(step)].map((
    [, terminal = "", extra = "", language = "", block = "", line = ""],
  ) => ({
    terminal,
    kind: line ? "wait" : /Ctrl-C$/.test(extra) ? "Ctrl-C" : language,
    lines: line ? [line] : block ? block.split("\n") : [],
  }));
}

test("both languages have the same steps, commands and outputs", () => {
  const blocks = (text: string) => text.match(/^```.*?^```$/gms);
  assert.deepEqual(blocks(zh), blocks(en));
  for (const number of [1, 2, 3, 4, 5, 6, 7, 8]) {
    assert.deepEqual(steps(zh, number), steps(en, number));
    for (
      const part of [
        ["Predict.", "Do.", "See.", "<details><summary><b>Why"],
        ["猜一猜。", "动手。", "看到。", "<details><summary><b>为什么"],
      ]
    ) {
      const text = part[0] === "Predict." ? en : zh;
      const own = text.split(`<!-- experiment ${number} -->`)[1]!
        .split("<!-- experiment")[0]!;
      const places = part.map((piece) => own.indexOf(piece));
      assert.ok(
        places.every((place, i) => place > (places[i - 1] ?? 0)),
        `experiment ${number}: ${part.join(", ")}`,
      );
    }
  }
});

/**
 * Does an experiment as a learner does, each terminal's commands as they stand in the text, only with `node --import tsx` for
 * `npx tsx`, which would not pass a signal on. Ctrl-C is pressed when a script has printed all that the text shows of it.
 * @returns what each terminal printed, and what the text says that it prints
 */
async function perform(
  t: TestContext,
  server: Redis,
  number: number,
  { more = {}, edit = (command: string) => command, count = 0 } = {},
) {
  const { QUEUE, CHANNEL } = names();
  const env = bare({ REDIS_URL: server.url, QUEUE, CHANNEL, ...more });
  const redis = await look(t, server.url);
  const plan = steps(en, number);
  const terminals: Record<string, Program[]> = {};
  const running = (program?: Program) =>
    program?.child.exitCode === null && program.child.signalCode === null;
  const readme: Record<string, string[]> = {};
  for (
    const { terminal, lines } of plan.filter(({ kind }) => kind === "text")
  ) {
    readme[terminal] = lines.map((line) =>
      line.replace("task:prodcons:queue", QUEUE).replace(
        "task:pubsub:channel",
        CHANNEL,
      )
    );
  }
  const printed = (terminal: string) =>
    terminals[terminal]!.flatMap((program) => program.lines);
  const peaks: { pushed: number; done: number }[] = []; // when each push ended, and when all of it was done
  const tasks = () =>
    Object.values(terminals).flat().reduce(
      (sum, program) =>
        sum + (program.done.length > 0 ? program.done : program.tasks).length,
      0,
    );

  for (const { terminal, kind, lines } of plan) {
    const programs = terminals[terminal] ??= [];
    if (kind === "Ctrl-C") {
      const starts = readme[terminal]!.flatMap((line, i) =>
        line.startsWith("listen ") ? [i] : []
      );
      const shown = readme[terminal]!.slice(0, starts[programs.length]).length;
      await until(
        `${shown} lines in terminal ${terminal}`,
        () => printed(terminal).length >= shown,
      );
      await programs.at(-1)!.end("SIGINT");
    } else if (kind === "wait") {
      await until(
        lines[0]!,
        () =>
          Object.values(terminals).flat().some((program) =>
            program.done.includes(lines[0]!)
          ),
      );
      if (peaks.length) peaks.at(-1)!.done = Date.now();
    } else if (kind === "sh") {
      for (const command of lines.map(edit)) {
        const pattern = command.match(/^pkill -9 -f (\S+)$/)?.[1];
        if (pattern) { // of all processes, those of this experiment
          await until(
            "one message in hand, one in the queue",
            async () => await redis.lLen(QUEUE) === 1,
          );
          const victims = Object.values(terminals).flat().filter((program) =>
            running(program) &&
            program.child.spawnargs.join(" ").includes(pattern)
          );
          assert.equal(victims.length, 1);
          assert.equal(await victims[0]!.end("SIGKILL"), "SIGKILL");
          continue;
        }
        assert.ok(
          !running(programs.at(-1)),
          `terminal ${terminal} is free for: ${command}`,
        );
        const [first, second] = command.split(" | ");
        const words = (part: string) =>
          [...part.matchAll(/"([^"]*)"|\S+/g)].map(([word, quoted]) =>
            quoted ?? word
          );
        const script = words(second ?? first!);
        assert.deepEqual(script.splice(0, 2), ["npx", "tsx"], command);
        const program = exec(t, process.execPath, [
          "--import",
          "tsx",
          ...script,
        ], { env });
        programs.push(program);
        if (second) {
          const [node, ...args] = words(first!);
          assert.equal(node, "node");
          exec(t, process.execPath, args).child.stdout.pipe(
            program.child.stdin,
          );
        }
        if (/consumer|subscriber/.test(script[0]!)) {
          await program.says(/^listen task (queue|channel)$/m);
        } else {
          assert.equal(await program.status, 0, program.err);
          if (second) peaks.push({ pushed: Date.now(), done: 0 });
        }
      }
    }
  }

  if (count) await until(`${count} tasks`, () => tasks() >= count);
  else {await until("all lines", () =>
      Object.keys(readme).every((terminal) =>
        printed(terminal).length >= readme[terminal]!.length
      ));}
  if (peaks.length) peaks.at(-1)!.done = Date.now();
  for (const program of Object.values(terminals).flat().filter(running)) {
    await program.end("SIGINT");
  }
  assert.equal(await redis.lLen(QUEUE), 0);
  const out = Object.fromEntries(
    Object.keys(readme).map((terminal) => [terminal, printed(terminal)]),
  );
  return { out, readme, peaks };
}

/** With the numbers that vary left out: a consumer that is quick or slow to take a message. */
const lengthAside = (lines: string[] = []) =>
  lines.map((line) => line.replace(/queue length \d+/, "queue length N"));

onEachRedis("experiments of the text", (get: () => Redis) => {
  for (const number of [1, 3]) {
    test(`experiment ${number} prints what the text shows`, async (t) => {
      const { out, readme } = await perform(t, get(), number);
      assert.deepEqual(out, readme);
    });
  }

  test("experiment 2 prints what the text shows, whichever consumer gets a message", async (t) => {
    // The four messages at the consumers, and four at each of the two subscribers.
    const { out, readme } = await perform(t, get(), 2, { count: 12 });
    const { A, B, C, D, E } = out;
    assert.deepEqual(
      [...A!, ...B!].sort(),
      [...readme.A!, ...readme.B!].sort(),
    );
    assert.deepEqual([A![0], B![0]], [readme.A![0], readme.B![0]]);
    assert.deepEqual({ C, D }, { C: readme.C, D: readme.D });
    assert.deepEqual(lengthAside(E), lengthAside(readme.E));
  });

  test("experiment 4: three consumers are done sooner than one", async (t) => {
    const edit = (command: string) =>
      command.replace("--work-ms 500", "--work-ms 20");
    const { out, readme, peaks } = await perform(t, get(), 4, {
      count: 100,
      edit,
    });
    const first = readme.A!.slice(0, 4);
    assert.deepEqual(out.A!.slice(0, 4), first);
    assert.equal(out.B!.length, 100);
    assert.deepEqual(out.B!.slice(0, 1), readme.B!.slice(0, 1));
    const done = [out.A, out.C, out.D].flatMap((lines) => lines!)
      .filter((line) => line.startsWith("Task done order "));
    assert.equal(done.length, 100);
    assert.equal(new Set(done).size, 50);
    const [one, three] = peaks.map(({ pushed, done }) => done - pushed);
    assert.ok(three! < one! * 2 / 3, `one ${one} ms, three ${three} ms`);
  });

  test("experiment 5 prints what the text shows: the plain consumer's order is lost, the reliable one's is not", async (t) => {
    const { out, readme } = await perform(t, get(), 5, {
      more: { LEASE_MS: "1000" },
    });
    const last = out.A!.splice(-2); // which of the two comes first depends on whether the lease runs out before or after the start
    assert.deepEqual(out.A, readme.A!.slice(0, -2));
    assert.deepEqual(last.sort(), readme.A!.slice(-2).sort());
    assert.deepEqual(lengthAside(out.B), lengthAside(readme.B));
  });
}, process.env.SOAK ? undefined : ["embedded server"]); // the one that the text uses; the long run takes both
