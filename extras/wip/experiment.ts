// Experiment: performs the experiments of experiments.md in this one terminal.
//
//   Redis:    all that the scripts use, in a Redis of its own
//   Run:      npm run experiment      lists them
//             npm run experiment 5    performs number 5; Ctrl-C ends it
//             npm run experiment 5 -- --lang zh    in Chinese; else as LANG is
//   Partner:  extras/experiments.md and extras/experiments.zh-CN.md, which say
//             at their end how an experiment is written
//   Promise:  the real scripts, on ports that nobody else uses; status 1 when
//             they do something other than the text says.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync } from "node:fs";
import { readFileSync, rmSync } from "node:fs";
import { randomInt } from "node:crypto";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { cause, complain, schema } from "../config.ts";

const words = {
  en: {
    parts: ["Predict", "Do", "See", "Why", "Try"],
    list: "npm run experiment 5 performs number 5:",
    unknown: "no such experiment: npm run experiment lists them",
    plan: "What is going to happen:",
    page: "See it move: open this in your browser, beside the terminal:",
    ask: "Your prediction, then Enter: ",
    said: "You predicted: ",
    was: "It happened:   ",
    none: "is not installed: this part is only shown, not performed.",
    same: "Every line came as the text says.",
    other: "This is not what the text says.",
  },
  zh: {
    parts: ["猜一猜", "动手", "看到", "为什么", "试一试"],
    list: "npm run experiment 5 演示第 5 个：",
    unknown: "没有这个实验：npm run experiment 列出全部",
    plan: "接下来要做的：",
    page: "看它动起来：在浏览器里打开这个地址，放在终端旁边：",
    ask: "你猜会怎样？输入后按回车：",
    said: "你猜的：",
    was: "实际上：",
    none: "没有安装：这一部分只显示，不演示。",
    same: "每一行都和文中写的一样。",
    other: "和文中写的不一样。",
  },
};

// 1. The text.

function usage(line: string): never {
  complain(line);
  process.exit(2);
}
function read() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        lang: { type: "string" },
        text: { type: "string" }, // another file than ours
        port: { type: "string" }, // of Redis; else any free one
      },
    });
  } catch (err) {
    usage(cause(err).replaceAll("\n", " "));
  }
}
const { values: { lang, text: file, port }, positionals } = read();
const locale = lang ?? Intl.DateTimeFormat().resolvedOptions().locale;
if (lang && lang !== "zh" && lang !== "en") usage("--lang must be en or zh");
const zh = locale.startsWith("zh");
const say = zh ? words.zh : words.en;
const root = fileURLToPath(new URL("..", import.meta.url));
const ours = `extras/experiments${zh ? ".zh-CN" : ""}.md`;
const text = readFileSync(file ?? join(root, ours), "utf8");
const sections = text.replaceAll("\r\n", "\n").split(/^## (?=\d)/m).slice(1);

const [number, more] = positionals;
if (number === undefined) {
  console.log(`${say.list}\n`);
  for (const section of sections) console.log("  " + section.split("\n")[0]);
  process.exit();
}
const section = sections.find((one) => one.startsWith(`${number}. `));
if (!section || more !== undefined) {
  usage(`${positionals.join(" ")}: ${say.unknown}`);
}

type Part = { name: string; body: string };
const pieces = section.split(
  new RegExp(`^\\*\\*(${say.parts.join("|")})[.。]\\*\\*`, "m"),
);
const parts: Part[] = [];
for (let i = 1; i < pieces.length; i += 2) {
  const name = words.en.parts[say.parts.indexOf(pieces[i]!)]!;
  parts.push({ name, body: pieces[i + 1]!.trim() });
}

/** The numbered steps: terminals, what is to do, and the code in it. */
function stepsOf(body: string) {
  const lines = body.split("\n").filter((line) => /^\d+\. /.test(line));
  return lines.map((line) => {
    const [, letters, what] = line.match(/^\d+\. \*\*([^*]+)\*\* (.+)$/) ??
      fail(`This is no step: ${line}`);
    const code = [...what!.matchAll(/`([^`]+)`/g)].map((found) => found[1]!);
    const names = letters!.match(/[A-Z]/g)!;
    return { line, names, what: what!, code, command: what === `\`${code}\`` };
  });
}

/** What See says of terminals: their letters, any order or not, their lines. */
function blocksOf(body: string) {
  const blocks = body.matchAll(/^\*\*([^*]+)\*\*\n\n```text\n(.*?)^```/gms);
  return [...blocks].map(([, label, block]) => {
    const names = label!.match(/\b[A-Z]\b/g)!;
    const lines = block!.trimEnd().split("\n").flatMap(range);
    const inOrder = label!.length === 1;
    return { label: label!, names, lines, inOrder };
  });
}
/** `1…20` is twenty lines. */
function range(line: string): string[] {
  const [all, from, to] = line.match(/(\d+)…(\d+)/) ?? [];
  if (!all) return [line];
  const length = Number(to) - Number(from) + 1;
  return Array.from(
    { length },
    (_, i) => line.replace(all, String(Number(from) + i)),
  );
}
/** A line in which … is any text. */
function fits(line: string, printed: string) {
  const words = shift(line).split("…").map((part) =>
    part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")
  );
  return new RegExp(`^${words.join(".*")}$`).test(printed);
}

// 2. Its own Redis: the text's ports, moved to where all of them are free.

const isPort = /\b(63[78]\d|700\d)\b/g;
const free = (port: number) =>
  new Promise<boolean>((resolve) => {
    const trial = createServer().once("error", () => resolve(false));
    trial.listen(port, () => trial.close(() => resolve(true)));
  });
const ports = [...section.match(isPort) ?? [], 6379].map(Number);
let moved = Number(port ?? 6379) - 6379;
while (!port && !moved) {
  const by = 4000 + randomInt(20_000);
  const all = await Promise.all(ports.map((one) => free(one + by)));
  if (all.every(Boolean)) moved = by;
}
const shift = (line: string) =>
  line.replace(isPort, (port) => String(Number(port) + moved));
const env = { ...process.env };
for (const name of Object.keys(schema.shape)) delete env[name];
env.REDIS_URL = shift("redis://localhost:6379/5");

// 3. Terminals.

type Terminal = {
  lines: string[];
  seen: number; // the lines before the last command, or waited for
  child?: ChildProcess | undefined;
};
const terminals: Record<string, Terminal> = {};
const terminal = (name: string) =>
  terminals[name] ??= { lines: [], seen: 0, child: undefined };
const folder = mkdtempSync(join(tmpdir(), "redis-mq-")); // of redis-server
const children = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => process.exit(130));
}
function fail(line: string): never {
  complain(line);
  process.exit(1);
}

const person = process.stdin.isTTY && process.stdout.isTTY;
const pause = (ms: number) => person ? sleep(ms) : undefined;
let shown: Promise<unknown> = Promise.resolve(); // one line after the other
const colours = [36, 32, 35, 34, 31];
let last = Date.now(); // when anything was printed or done
function show(name: string, line: string) {
  last = Date.now();
  const colour = name === "R" ? 33 : colours[name.charCodeAt(0) % 5];
  const tag = person ? `\x1b[1;${colour}m${name}\x1b[0m` : name;
  shown = shown.then(() => console.log(tag, line)).then(() => pause(100));
}

function start(name: string, command: string) {
  const own = terminal(name);
  show(name, `$ ${command}`);
  own.seen = own.lines.length;
  let before: ChildProcess | undefined;
  for (const part of command.split(" | ")) {
    const typed = part.matchAll(/"([^"]*)"|\S+/g);
    let [file, ...args] = [...typed].map(([word, quoted]) => quoted ?? word);
    let cwd = root;
    if (file === "npx") [file, args[0]] = ["node", "--import=tsx"];
    if (file === "node") file = process.execPath;
    else mkdirSync(cwd = join(folder, name), { recursive: true });
    const child = spawn(file!, args, { cwd, env, stdio: "pipe" });
    children.add(child);
    child.on("error", () => {});
    child.on("close", () => {
      last = Date.now();
      children.delete(child);
      if (own.child === child) own.child = undefined;
    });
    // One that ends does not read what the other one still writes.
    child.stdin.on("error", () => {});
    if (before) before.stdout!.pipe(child.stdin);
    else child.stdin.end();
    own.child = before = child;
    const heard = part === command.split(" | ").at(-1)
      ? [child.stdout, child.stderr]
      : [child.stderr];
    for (const input of heard) {
      createInterface({ input }).on("line", (line) => {
        own.lines.push(line);
        show(name, line);
      });
    }
  }
}

/** Waits for it, until nothing has moved for 20 seconds. */
async function until(ready: () => boolean) {
  last = Date.now();
  while (!ready()) {
    if (Date.now() > last + 20_000) return false;
    await sleep(10);
  }
  return true;
}
/** Whether the terminal has printed these lines, and marks them as seen. */
function printed(own: Terminal, lines: string[]) {
  let at = own.seen;
  for (const line of lines) {
    at = 1 + own.lines.findIndex((one, i) => i >= at && fits(line, one));
    if (at === 0) return false;
  }
  own.seen = at;
  return true;
}
const signals: Record<string, NodeJS.Signals> = {
  "Ctrl-C": "SIGINT",
  "kill -9": "SIGKILL",
  "kill -STOP": "SIGSTOP",
  "kill -CONT": "SIGCONT",
};
// What says that a program which goes on is ready for the next step.
const ready = /^listen |\blistens at |^Waiting for |Ready to accept/;

async function perform(steps: ReturnType<typeof stepsOf>) {
  const took: number[] = [];
  for (const [i, { line, names, what, code, command }] of steps.entries()) {
    const begin = Date.now();
    const own = terminal(names[0]!);
    const next = steps[i + 1]?.names.includes(names[0]!) && steps[i + 1];
    let done: () => boolean;
    if (command) {
      if (!await until(() => !own.child)) fail(`Something runs on: ${line}`);
      start(names[0]!, shift(code[0]!));
      done = () =>
        !own.child || (next && !next.command) ||
        own.lines.slice(own.seen).some((one) => ready.test(one));
    } else if (signals[what]) {
      show(names[0]!, what);
      if (!own.child) fail(`Nothing runs there: ${line}`);
      own.child?.kill(signals[what]);
      done = () => /STOP|CONT/.test(what) || !own.child;
    } else {
      if (code.length === 0) fail(`What is there to do? ${line}`);
      shown = shown.then(() => console.log(plain(line)));
      done = () => names.some((name) => printed(terminal(name), code));
    }
    const came = await until(done);
    took.push((Date.now() - begin) / 1000);
    await shown;
    if (!came) fail(`${say.other} ${line}`);
    await pause(1200);
  }
  return took;
}

/** Markdown as it is read in a terminal. */
const plain = (text: string) =>
  text.replace(/\*\*|`(?!`)/g, "").replace(/\[(.*?)\]\((.*?)\)/g, "$1 ($2)");
