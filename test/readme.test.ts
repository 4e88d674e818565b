// README and extras/real-work.md, in both languages: they name all that there
// is and nothing that there is not, and say the same; the walk is real.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import {
  defaults,
  flag,
  freePort,
  type Program,
  root,
  script,
  until,
} from "./tools.ts";

const read = (file: string) =>
  readFileSync(join(root, file), "utf8").replaceAll("\r\n", "\n");
const list = (folder: string, ending: string) =>
  readdirSync(join(root, folder)).filter((file) => file.endsWith(ending))
    .map((file) => folder + file);
/** What a text has, one by one. */
const all = (text: string, what: RegExp) =>
  [...text.matchAll(what)].map((found) => found[1] ?? found[0]);

const languages = {
  English: ["README.md", "extras/real-work.md"],
  Chinese: ["README.zh-CN.md", "extras/real-work.zh-CN.md"],
};

/** Scripts that carry no message of their own. */
const tools = ["start", "experiment", "experiment-text", "valkey-patch"].map((
  name,
) => `extras/${name}.ts`);

describe("README", () => {
  for (const [language, files] of Object.entries(languages)) {
    const [readme, guide] = files.map(read) as [string, string];
    const both = readme + guide;

    test(`${language}: README has at most 160 lines`, () => {
      assert.ok(readme.split("\n").length <= 161);
    });

    test(`${language}: it names every script, and exactly the settings that there are, with flag and default`, () => {
      const named = both + read("CONTRIBUTING.md");
      for (const file of [...list("", ".ts"), ...list("extras/", ".ts")]) {
        assert.ok(named.includes(file), file);
      }
      for (const [setting, value] of Object.entries(defaults)) {
        const row = `| \`${setting}\` | \`${flag(setting)}\` | \`${value}\` | `;
        assert.ok(both.includes(row), row);
      }
      const rows = all(both, /^\| `([A-Z_]+)` \| `--/gm);
      const settings = [...Object.keys(defaults), "MQ_NAME"];
      assert.deepEqual(rows.sort(), settings.sort());
    });

    test(`${language}: every promise is held by a test of that name, and no script is without`, () => {
      const [, section = ""] = guide.split(
        /^## (?:What is promised|保证什么)$([^]*?)^## /m,
      );
      const scripts = [...list("", ".ts"), ...list("extras/", ".ts")];
      const what = scripts.filter((file) =>
        file !== "config.ts" && !tools.includes(file)
      );
      what.push("--order", "--work-ms", "--lease-ms", "--batch");
      for (const name of what) {
        const row = new RegExp(`^\\|[^|]*\`${name}\``, "m");
        assert.match(section, row, `a row for ${name}`);
      }
      // A test's name may be a template: what it fills in, we do not know.
      const escape = (text: string) =>
        text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
      const tests = readdirSync(join(root, "test"), { recursive: true })
        .map(String).filter((file) => file.endsWith(".test.ts"));
      const known = tests.flatMap((file) =>
        all(read(join("test", file)), /\btest\(\s*("[^"]+"|`[^`]+`)/g)
      ).map((name) => {
        const parts = name.slice(1, -1).split(/\$\{[^}]*\}/).map(escape);
        return new RegExp(`^${parts.join(".+")}$`);
      });
      const held = all(section, /"([^"]+)"/g);
      assert.ok(held.length > 10);
      for (const name of held) {
        const isKnown = known.some((pattern) => pattern.test(name));
        assert.ok(isKnown, `no test is called: ${name}`);
      }
    });
  }

  const pages = [...Object.values(languages).flat(), "CONTRIBUTING.md"];
  test("they name only files and npm scripts that there are", () => {
    const { scripts } = JSON.parse(read("package.json"));
    let count = 0;
    for (const page of pages) {
      const text = read(page).replace(/<?https?:[^\s)>]+/g, "");
      const prose = text.replace(/`[^`\n]+`/g, ""); // code may look like one
      const links = all(prose, /\]\(([^)#]+)\)/g)
        .map((link) => join(dirname(page), link));
      const names = all(
        text,
        /(?<![\w/.-])[\w-][\w./-]*\.(?:ts|html|png|md)\b(?!\))/g,
      );
      for (const file of [...links, ...names]) {
        // A twin beside it is named without its folder.
        const isThere = [file, join(dirname(page), file)].some((path) =>
          existsSync(join(root, path))
        );
        assert.ok(isThere, `${page} names ${file}, which does not exist`);
        count++;
      }
      const runs = /\bnpm (?:run (?=[\w:]+)([\w:]+)|(start|test)\b)/g;
      for (const [, run, short] of text.matchAll(runs)) {
        assert.ok(scripts[run ?? short!], `${page}: npm run ${run ?? short}`);
      }
    }
    assert.ok(count > 100, "links and files are found at all");
  });

  for (const [i, what] of ["README", "extras/real-work"].entries()) {
    test(`${what}: both languages have the same headings, rows, commands and outputs`, () => {
      const [en, zh] = Object.values(languages).map((files) => read(files[i]!));
      const blocks = (text = "") => text.match(/^```.*?^```$/gms);
      const prose = (text = "") => text.replace(/^```.*?^```$/gms, "");
      const headings = (text?: string) => prose(text).match(/^#+(?= )/gm);
      // Of each row what stands in backquotes and in quotes, in any order.
      const rows = (text?: string) =>
        (prose(text).match(/^\|.*/gm) ?? []).map((row) =>
          all(row, /(?<!`)`[^`]+`|"[^"]+"/g).sort().join(" ")
        );
      assert.deepEqual(blocks(zh), blocks(en));
      assert.deepEqual(headings(zh), headings(en));
      assert.deepEqual(rows(zh), rows(en));
    });
  }

  test("the walk, typed as it stands there, prints what stands there", async (t) => {
    const [, walk = ""] = read("README.md").split(/^```console$([^]*?)^```$/m);
    const steps = walk.trim().split(/^(?=[A-Z]\$ )/m).map((step) => {
      const [typed = "", ...printed] = step.trim().split("\n");
      const [, file = "", args = ""] =
        /^[A-Z]\$ npx tsx (\S+)(.*)$/.exec(typed) ?? [];
      return { file, args: all(args, /"([^"]*)"|\S+/g), printed };
    });
    assert.equal(steps.length, 6);

    const port = await freePort();
    const REDIS_URL = `redis://localhost:${port}/5`;
    const running: [Program, string[]][] = [];
    const start = (some: typeof steps) =>
      Promise.all(some.map(({ file, args, printed }) => {
        const program = script(t, file, args, { REDIS_URL, PORT: "0" });
        running.push([program, printed]);
        return program.says("\n");
      }));
    await start(steps.slice(0, 1)); // Redis
    await start(steps.slice(1).filter(({ args }) => args.length === 0));
    await start(steps.filter(({ args }) => args.length > 0)); // who sends
    // Process ids and ports differ.
    const plain = (lines: string[]) =>
      lines.map((line) => line.replace(/:\d+(?=[/,]|$)/g, ":N"));
    for (const [program, printed] of running) {
      const isThere = () => program.lines.length >= printed.length;
      await until(printed.at(-1)!, isThere, 20_000);
      assert.deepEqual(plain(program.lines), plain(printed));
      assert.equal(program.err, "");
    }
  });
});
