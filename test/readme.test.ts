// README: both languages name all that there is, nothing that there is not, and the experiments do what they say.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { schema } from "../config.ts";
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
const list = (folder: string, ending: string) =>
  readdirSync(join(root, folder)).filter((file) => file.endsWith(ending)).map((
    file,
  ) => folder + file);
const languages = {
  "README.md": read("README.md"),
  "README.zh-CN.md": read("README.zh-CN.md"),
};
const [en, zh] = Object.values(languages) as [string, string];

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

describe("README", () => {
  for (const [name, text] of Object.entries(languages)) {
    test(`${name} names every script and every setting with its flag and default`, () => {
      for (const file of [...list("", ".ts"), ...list("extras/", ".ts")]) {
        assert.ok(text.includes(file), file);
      }
      for (const [setting, type] of Object.entries(schema.shape)) {
        const row = `| \`${setting}\` | \`--${
          setting.toLowerCase().replace("_", "-")
        }\` | \`${type.parse(undefined)}\` | `;
        assert.ok(text.includes(row), row);
      }
    });

    test(`${name} names only settings, files and npm scripts that there are`, () => {
      const rows = [...text.matchAll(/^\| `([A-Z_]+)` \| `--/gm)].map((found) =>
        found[1]
      );
      assert.deepEqual(rows, Object.keys(schema.shape));
      const links = [...text.matchAll(/\]\(([^)#]+)\)/g)].map((found) =>
        found[1]!
      ).filter((link) => !/^https?:/.test(link));
      const files = text.replace(/<?https?:[^\s)>]+/g, "").match(
        /(?<![\w/.-])[\w-][\w./-]*\.(ts|html|png|md)\b/g,
      ) ?? [];
      assert.ok(
        links.length > 5 && files.length > 20,
        "links and files are found at all",
      );
      for (const file of new Set([...links, ...files])) {
        assert.ok(
          existsSync(join(root, file)),
          `${file} is named, but does not exist`,
        );
      }
      const { scripts } = JSON.parse(read("package.json"));
      for (
        const [, script] of text.matchAll(
          /\bnpm (?:run )?(start|test|bench)\b/g,
        )
      ) assert.ok(scripts[script!], `npm run ${script}`);
    });

    test(`${name} gives every script and option its promise, each held by a test of that name`, () => {
      const section = text.split(/^## (?:What is promised|保证什么)$/m)[1]!
        .split(/^## /m)[0]!;
      for (
        const what of [
          "producer.ts",
          "consumer.ts",
          "publisher.ts",
          "subscriber.ts",
          "server.ts",
          ...list("extras/", ".ts").filter((file) =>
            file !== "extras/start.ts"
          ),
          "--order",
          "--work-ms",
          "--lease-ms",
          "--batch",
        ]
      ) {
        assert.match(
          section,
          new RegExp(`^\\|[^|]*\`${what}\``, "m"),
          `a row for ${what}`,
        );
      }
      const sources = list("test/", ".test.ts").map(read).join("\n");
      const known = [...sources.matchAll(/\btest\((?:"([^"]+)"|`([^`]+)`)/g)]
        .map(([, plain, template = ""]) =>
          new RegExp(
            `^${
              (plain ?? template).split(/\$\{[^}]*\}/).map((piece) =>
                piece.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
              ).join(".+")
            }$`,
          )
        );
      const held = [...section.matchAll(/"([^"]+)"/g)].map((found) =>
        found[1]!
      );
      assert.ok(held.length > 10);
      for (const name of held) {
        assert.ok(
          known.some((pattern) => pattern.test(name)),
          `no test is called: ${name}`,
        );
      }
    });
  }

  test("both languages have the same sections, the same commands and outputs, and the same steps in the experiments", () => {
    const headings = (text: string) =>
      text.replace(/^```.*?^```$/gms, "").match(/^#+(?= )/gm);
    const blocks = (text: string) => text.match(/^```.*?^```$/gms);
    assert.deepEqual(headings(zh), headings(en));
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
        const own = text.split(`<!-- experiment ${number} -->`)[1]!.split(
          "<!-- experiment",
        )[0]!;
        const places = part.map((piece) => own.indexOf(piece));
        assert.ok(
          places.every((place, i) => place > (places[i - 1] ?? 0)),
          `experiment ${number}: ${part.join(", ")}`,
        );
      }
    }
  });
});

/**
 * Does an experiment as a learner does, each terminal's commands as they stand in the README, only with `node --import tsx` for
 * `npx tsx`, which would not pass a signal on. Ctrl-C is pressed when a script has printed all that the README shows of it.
 * @returns what each terminal printed, and what the README says that it prints
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
      (sum, program) => sum + program.tasks.length,
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
      assert.equal(await programs.at(-1)!.end("SIGINT"), 0);
    } else if (kind === "wait") {
      await until(
        lines[0]!,
        () =>
          Object.values(terminals).flat().some((program) =>
            program.tasks.includes(lines[0]!)
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
    assert.equal(await program.end("SIGINT"), 0);
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

onEachRedis("experiments of the README", (get: () => Redis) => {
  for (const number of [1, 3]) {
    test(`experiment ${number} prints what the README shows`, async (t) => {
      const { out, readme } = await perform(t, get(), number);
      assert.deepEqual(out, readme);
    });
  }

  test("experiment 2 prints what the README shows, whichever consumer gets a message", async (t) => {
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

  test("experiment 4 prints what the README shows, and three consumers are done sooner than one", async (t) => {
    const { out, readme, peaks } = await perform(t, get(), 4, {
      count: 100,
      edit: (command) => command.replace("--work-ms 500", "--work-ms 20"),
    });
    const shape = (lines: string[]) =>
      new RegExp(
        `^${
          lines.map((line) =>
            line === "…" ? "(.*\n)*" : line.replace(/[().*]/g, "\\$&") + "\n"
          ).join("")
        }$`,
      );
    const numberAside = (lines: string[] = []) =>
      lines.map((line) => line.replace(/order \d+/, "order N"));
    const orders = Array.from(
      { length: 50 },
      (_, i) => `Task get order ${i + 1}`,
    );
    assert.match(
      lengthAside(out.B).join("\n") + "\n",
      shape(lengthAside(readme.B)),
    );
    for (const terminal of ["A", "C", "D"]) {
      assert.match(
        numberAside(out[terminal]).join("\n") + "\n",
        shape(numberAside(readme[terminal])),
        terminal,
      );
    }
    assert.deepEqual(out.A!.slice(1, 51), orders);
    assert.match(
      out.A!.slice(0, 51).join("\n") + "\n",
      shape(readme.A!.slice(0, readme.A!.indexOf("Task get order 50") + 1)),
    );
    assert.deepEqual(
      [...out.A!.slice(51), ...out.C!.slice(1), ...out.D!.slice(1)].sort(),
      orders.sort(),
    );
    const [one, three] = peaks.map(({ pushed, done }) => done - pushed);
    assert.ok(
      three! < one! * 2 / 3,
      `one consumer ${one} ms, three ${three} ms`,
    );
  });

  test("experiment 5 prints what the README shows: the plain consumer's order is lost, the reliable one's is not", async (t) => {
    const { out, readme } = await perform(t, get(), 5, {
      more: { LEASE_MS: "1000" },
    });
    const last = out.A!.splice(-2); // which of the two comes first depends on whether the lease runs out before or after the start
    assert.deepEqual(out.A, readme.A!.slice(0, -2));
    assert.deepEqual(last.sort(), readme.A!.slice(-2).sort());
    assert.deepEqual(lengthAside(out.B), lengthAside(readme.B));
  });
}, process.env.SOAK ? undefined : ["embedded server"]); // the one that the text uses; the long run takes both
