// Runs all test files of the folders given, two at a time, and says at the end
// what was skipped and why.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";

const files = process.argv.slice(2).flatMap((folder) =>
  readdirSync(folder).filter((file) => file.endsWith(".test.ts"))
    .map((file) => join(folder, file))
);
const tests = run({ files, concurrency: 2, timeout: 600_000 });
const reasons = new Set<string>();
tests.on("test:pass", ({ skip }) => {
  if (typeof skip === "string") reasons.add(skip);
});
tests.on("test:fail", () => process.exitCode = 1);
tests.compose(new spec()).pipe(process.stdout);
process.once("beforeExit", () => {
  const skipped = [...reasons].join("; ") || "nothing";
  console.log(`Skipped: ${skipped}.`);
});
