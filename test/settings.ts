// What every script does with its settings: for config.test.ts and for
// extras/settings.test.ts.

import assert from "node:assert/strict";
import { basename } from "node:path";
import { test } from "node:test";
import { defaults, flag, script } from "./tools.ts";

/** Tests of each script that it has these settings, and what it says of them. */
export function testSettings(uses: Record<string, string[]>) {
  for (const [file, names] of Object.entries(uses)) {
    test(`${file} --help says what it does, its Redis command, and exactly its settings with their defaults`, async (t) => {
      const help = script(t, file, ["--help"]);
      assert.equal(await help.status, 0);
      assert.match(
        help.out,
        /^[A-Z][^]+Redis: [^]+Run: [^]+Partner: [^]+Delivery: [^]+--redis-url/,
      );
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
  }
}
