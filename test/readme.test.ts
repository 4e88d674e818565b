// README: both languages name all that there is, and nothing that there is not.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { defaults, flag, root } from "./tools.ts";

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

/** Scripts that carry no message of their own. */
const tools = ["extras/start.ts", "extras/experiment.ts"];

describe("README", () => {
  for (const [name, text] of Object.entries(languages)) {
    test(`${name} names every script and every setting with its flag and default`, () => {
      for (const file of [...list("", ".ts"), ...list("extras/", ".ts")]) {
        assert.ok(text.includes(file), file);
      }
      for (const [setting, value] of Object.entries(defaults)) {
        const row = `| \`${setting}\` | \`${flag(setting)}\` | \`${value}\` | `;
        assert.ok(text.includes(row), row);
      }
    });

    test(`${name} names only settings, files and npm scripts that there are`, () => {
      const rows = [...text.matchAll(/^\| `([A-Z_]+)` \| `--/gm)].map((found) =>
        found[1]
      );
      assert.deepEqual(rows, Object.keys(defaults));
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
          /\bnpm (?:run )?(start|test|bench|lint|experiment|picture)\b/g,
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
          ...list("extras/", ".ts").filter((file) => !tools.includes(file)),
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
      const known = [...sources.matchAll(/\btest\(\s*(?:"([^"]+)"|`([^`]+)`)/g)]
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

  test("both languages have the same sections, the same commands and outputs", () => {
    const headings = (text: string) =>
      text.replace(/^```.*?^```$/gms, "").match(/^#+(?= )/gm);
    const blocks = (text: string) => text.match(/^```.*?^```$/gms);
    assert.deepEqual(headings(zh), headings(en));
    assert.deepEqual(blocks(zh), blocks(en));
  });
});
