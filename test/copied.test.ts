// config.ts and scripts that somebody copies into a project of their own:
// compiled, started from elsewhere, with two Redis in one program.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { bare, exec, look, names, redis, root, until } from "./tools.ts";

/** What `npm init -y` and our files make, with the packages that we have. */
function project(t: TestContext, more: Record<string, string> = {}) {
  const dir = mkdtempSync(join(tmpdir(), "redis-mq copied "));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  for (const file of ["config.ts", "consumer.ts"]) {
    cpSync(join(root, file), join(dir, file));
  }
  const manifest = { name: "mine", version: "1.0.0", main: "index.js" };
  writeFileSync(
    join(dir, "package.json"),
    JSON.stringify({ ...manifest, type: "module" }),
  );
  for (const [file, text] of Object.entries(more)) {
    writeFileSync(join(dir, file), text);
  }
  mkdirSync(join(dir, "node_modules"));
  for (const name of ["redis", "@redis", "zod", "tsx", "@types"]) {
    const from = join(root, "node_modules", name);
    symlinkSync(from, join(dir, "node_modules", name), "junction");
  }
  return dir;
}
const tsx = import.meta.resolve("tsx");

describe("copied", { concurrency: 2 }, () => {
  test("consumer.ts works in a project of one's own, from another working directory", async (t) => {
    const server = await redis("embedded server");
    t.after(() => server.remove());
    const e = { REDIS_URL: server.url, ...names() };
    const dir = project(t);
    const consumer = exec(
      t,
      process.execPath,
      ["--import", tsx, join(dir, "consumer.ts")],
      { cwd: tmpdir(), env: bare(e) },
    );
    await consumer.says("listen task queue");
    const client = await look(t, e.REDIS_URL);
    await client.lPush(e.QUEUE, "mine");
    await consumer.says("Task get mine");
    assert.equal(await consumer.end(), 0);
    assert.equal(consumer.err, "");
  });

  test("compiled by tsc, consumer.js works, and --help prints its header, not the file", async (t) => {
    const server = await redis("embedded server");
    t.after(() => server.remove());
    const e = { REDIS_URL: server.url, ...names() };
    const dir = project(t);
    const options = "--target es2022 --module nodenext --skipLibCheck " +
      "--types node --rewriteRelativeImportExtensions --outDir dist";
    const compiler = join(root, "node_modules/typescript/bin/tsc");
    execFileSync(
      process.execPath,
      [compiler, ...options.split(" "), "consumer.ts"],
      { cwd: dir },
    );
    const start = (...args: string[]) =>
      exec(t, process.execPath, ["dist/consumer.js", ...args], {
        cwd: dir,
        env: bare(e),
      });
    const help = start("--help");
    assert.equal(await help.status, 0);
    assert.match(help.out, /^Consumer: [^]+Delivery: [^]+--queue \(or QUEUE\)/);
    assert.ok(!help.out.includes("import"), help.out);
    const consumer = start();
    await consumer.says("listen task queue");
    const client = await look(t, e.REDIS_URL);
    await client.lPush(e.QUEUE, "compiled");
    await consumer.says("Task get compiled");
    assert.equal(await consumer.end(), 0);
  });

  test("two Redis in one program: each says for itself that it is away, and one that its owner has destroyed says nothing more", async (t) => {
    const [a, b] = [
      await redis("embedded server"),
      await redis("embedded server"),
    ];
    t.after(() => Promise.all([a.remove(), b.remove()]));
    const program = exec(t, process.execPath, ["--import", tsx, "two.ts"], {
      cwd: project(t, {
        "two.ts": `
          import { connect } from "./config.ts";
          const a = await connect(${JSON.stringify(a.url)}, { wait: true });
          const b = await connect(${JSON.stringify(b.url)}, { wait: true });
          console.log("both");
          process.stdin.once("data", () => {
            b.destroy();
            console.log("without b");
          });
          for (;;) {
            await a.blPop("q", 1).then((got) => got && console.log(got.element))
              .catch(() => new Promise((later) => setTimeout(later, 50)));
          }`,
      }),
      env: bare(),
    });
    await program.says("both");
    await a.stop();
    await program.says(`Waiting for Redis at ${a.url}: `);
    await a.start();
    await program.says("Redis is there.");
    assert.ok(!program.err.includes(b.url), program.err);
    program.child.stdin.write("\n");
    await program.says("without b");
    const { err } = program;
    await b.stop();
    await a.stop();
    await until("the second waiting", () => program.err.length > err.length);
    await a.start();
    await until(
      "the second return",
      () => program.err.split("Redis is there.").length === 3,
    );
    const client = await look(t, a.url);
    await client.lPush("q", "again");
    await program.says("again");
    assert.ok(!program.err.includes(b.url), program.err);
  });

  test("importing config.ts opens nothing and prints nothing", async (t) => {
    const program = exec(
      t,
      process.execPath,
      [
        "--import",
        tsx,
        "--input-type=module",
        "-e",
        `await import(${JSON.stringify(join(root, "config.ts"))});
         const open = process.getActiveResourcesInfo();
         process.exitCode = open.some((one) => /TCP|Timeout/.test(one)) ? 3 : 0;`,
      ],
      { env: bare() },
    );
    assert.equal(await program.status, 0);
    assert.equal(program.out + program.err, "");
  });
});
