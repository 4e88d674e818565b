// Experiment: performs the experiments of experiments.md in this one terminal.
//
//   Redis:    all that the scripts use, in a Redis of its own
//   Run:      npm run experiment      lists them
//             npm run experiment 5    performs number 5; Ctrl-C ends it
//             npm run experiment 5 -- --lang zh    in Chinese; else as LANG is
//   Partner:  extras/experiments.md and extras/experiments.zh-CN.md, which say
//             at their end how an experiment is written
//   Delivery: the real scripts, on ports that nobody else uses. Status 1 when
//             they do something other than the text says.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { complain } from "../config.ts";

const words = {
  en: {
    parts: ["Predict", "Do", "See", "Why", "Try"],
    list: "npm run experiment 1 performs number 1:",
    unknown: "no such experiment; npm run experiment lists them",
    who: "You type nothing but predictions. The letter before a line is its " +
      "terminal: R is Redis, in the others we type for you.",
    page: "See it move: open this in your browser, beside this terminal:",
    ask: "Your prediction, then Enter: ",
    wait: "waits until it prints",
    none: "is not installed: this is not performed, only shown.",
    said: "You said: ",
    was: "It was:   ",
    same: "Every line is as expected.",
    other: "This is not as expected:",
    own: "By yourself: first npx tsx extras/redis.ts in a terminal of its own.",
  },
  zh: {
    parts: ["猜一猜", "动手", "看到", "为什么", "试一试"],
    list: "npm run experiment 1 演示第 1 个实验：",
    unknown: "没有这个实验；npm run experiment 列出全部",
    who: "你只要输入猜测。行首的字母表示终端：" +
      "R 是 Redis，其余的由我们替你输入。",
    page: "想看它动起来，" +
      "就在浏览器里打开这个地址，放在终端旁边：",
    ask: "你猜会怎样？输入后按回车：",
    wait: "等它打印",
    none: "没有安装：这一部分不演示，只显示。",
    said: "你猜的：",
    was: "实际上：",
    same: "每一行都和预期的一样。",
    other: "和预期的不一样：",
    own: "自己动手：" +
      "先在一个单独的终端里启动 npx tsx extras/redis.ts。",
  },
};

// 1. The text.

function end(status: number, line: string): never {
  complain(line);
  process.exit(status);
}
function read() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        lang: { type: "string" },
        text: { type: "string" }, // another file than ours
        port: { type: "string" }, // of Redis; otherwise a free one
      },
    });
  } catch (err) {
    end(2, (err as Error).message.replaceAll("\n", " "));
  }
}
const { values: { lang, text, port }, positionals: [number, more] } = read();
if (lang && lang !== "zh" && lang !== "en") end(2, "--lang must be en or zh");
const locale = lang ?? Intl.DateTimeFormat().resolvedOptions().locale;
const zh = locale.startsWith("zh");
const say = zh ? words.zh : words.en;
const root = fileURLToPath(new URL("..", import.meta.url));
const ours = join(root, `extras/experiments${zh ? ".zh-CN" : ""}.md`);
const markdown = readFileSync(text ?? ours, "utf8").replaceAll("\r\n", "\n");
// Each begins with a heading: ## and its number.
const experiments = markdown.split(/^## /m).filter((one) => /^\d/.test(one));

if (number === undefined) {
  console.log(`${say.list}\n`);
  for (const one of experiments) console.log("  " + one.split("\n")[0]);
  process.exit();
}
const experiment = experiments.find((one) => one.startsWith(`${number}. `));
if (!experiment || more !== undefined) end(2, `${number}: ${say.unknown}`);

// What is done to a program that runs.
const acts: Record<string, NodeJS.Signals | undefined> = {
  "Ctrl-C": "SIGINT",
  "kill -9": "SIGKILL",
  "Enter": undefined,
};

/** The numbered steps: terminals in bold, then a command, an act or a wait. */
function stepsOf(body: string) {
  const lines = body.split("\n").filter((line) => /^\d+\. /.test(line));
  return lines.map((line) => {
    const [, letters, what] = line.match(/^\d+\. \*\*([^*]+)\*\* (.+)$/) ??
      end(1, `No step: ${line}`);
    const codes = [...what!.matchAll(/`([^`]+)`/g)].map(([, code]) => code!);
    const only = what === `\`${codes[0]}\`` ? codes[0]! : "";
    const act = only in acts ? only : "";
    const names = letters!.match(/[A-Z]/g)!;
    const command = act ? "" : shift(only);
    return { line, names, command, act, wait: only ? [] : codes.map(shift) };
  });
}

/** What See says of the terminals: their letters, and all that they print. */
function blocksOf(body: string) {
  const found = body.matchAll(/^\*\*([^*]+)\*\*\n\n```text\n(.*?)\n```/gms);
  return [...found].map(([, label, block]) => {
    const names = label!.match(/\b[A-Z]\b/g)!;
    const lines = block!.split("\n").flatMap(range).map(shift);
    return { label: label!, names, lines, inOrder: label!.length === 1 };
  });
}
/** `order 1…20` is twenty lines. */
function range(line: string) {
  const [all, from, to] = line.match(/(\d+)…(\d+)/) ?? [];
  if (!all) return [line];
  const length = Number(to) - Number(from) + 1;
  return Array.from({ length }, (_, i) => line.replace(all, `${+from! + i}`));
}
/** Whether a line is the text's, where … is any text. */
function fits(wanted: string, line: string) {
  const [head = "", ...tail] = wanted.split("…");
  const last = tail.pop();
  if (last === undefined) return line === wanted;
  let at = head.length;
  for (const part of tail) {
    at = line.indexOf(part, at) + part.length;
    if (at < part.length) return false;
  }
  return line.startsWith(head) && line.slice(at).endsWith(last);
}

/** Markdown as one reads it in a terminal: no marks, and no word cut. */
function plain(text: string) {
  const bare = text.replace(/```\w*\n|```|\*\*/g, "")
    // *emphasis*, but not the `*` of commands
    .replace(/(`[^`]*`)|\*([^*]+)\*/g, (_, code, word) => code ?? word)
    .replace(/\[(.*?)\]\(.*?\)/g, "$1").replaceAll("`", "");
  const width = Math.min(process.stdout.columns || Infinity, 100);
  let column = 0;
  return bare.trim().replace(/\n| ?[^ \n]+/g, (word) => {
    column = word === "\n" ? 0 : column + word.length;
    if (column < width) return word;
    column = word.length;
    return `\n${word.trimStart()}`;
  });
}

// 2. Its own Redis: the ports of the text, moved to where all of them are free.

const isPort = /\b(63[78]\d|70[01]\d)\b/g;
const isFree = (port: number) =>
  new Promise<boolean>((resolve) => {
    const trial = createServer().once("error", () => resolve(false));
    trial.listen(port, () => trial.close(() => resolve(true)));
  });
let moved = Number(port ?? 6379) - 6379;
while (!moved) {
  // A cluster's node also takes the port 10,000 above: that, too, stays below
  // those of outgoing connections, from 32,768.
  const by = randomInt(4000, 15_000);
  const ports = new Set(["6379", ...experiment.match(isPort) ?? []]);
  const free = await Promise.all(
    [...ports].map((one) => isFree(Number(one) + by)),
  );
  if (free.every(Boolean)) moved = by;
}
function shift(line: string) {
  return line.replace(isPort, (port) => String(Number(port) + moved));
}
const env = { ...process.env };
const names =
  "QUEUE ORDER WORK_MS CHANNEL PORT MQ_HOST MQ_NAME LEASE_MS BATCH " +
  "WAIT_MS STREAM MQ_GROUP FROM TRIES";
for (const name of names.split(" ")) delete env[name];
env.REDIS_URL = shift("redis://localhost:6379/5");

// 3. The terminals.

type Terminal = { lines: string[]; seen: number; child?: ChildProcess };
const terminals = new Map<string, Terminal>();
function terminal(name: string) {
  const own = terminals.get(name) ?? { lines: [], seen: 0 };
  terminals.set(name, own);
  return own;
}
const folder = mkdtempSync(join(tmpdir(), "redis-mq-")); // of redis-server
const children = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => process.exit(130));
}

const person = process.stdin.isTTY && process.stdout.isTTY;
const input = createInterface({ input: process.stdin });
const typed = input[Symbol.asyncIterator]();
async function ask(question: string) {
  if (!person) return "";
  process.stdout.write(`\n${question}`);
  const { value, done } = await typed.next();
  return done ? process.exit() : value.trim(); // Ctrl-D
}
const pause = (ms: number) => person ? sleep(ms) : undefined;
const bold = (line: string) => person ? `\x1b[1m${line}\x1b[0m` : line;

let moment = Date.now(); // when anything last happened
let shown: Promise<unknown> = Promise.resolve(); // one line after the other
let waiting = 0;
function show(name: string, line: string) {
  moment = Date.now();
  const colours = [96, 36, 32, 35, 34]; // none that looks like an error
  const colour = name === "R" ? 33 : colours[name.charCodeAt(0) % 5];
  const tag = person ? `\x1b[1;${colour}m${name}\x1b[0m` : name;
  waiting++;
  shown = shown.then(async () => {
    console.log(tag, line);
    // Slowly enough to be read, but never far behind.
    if (--waiting < 10) await pause(150);
  });
}

/** Starts what is typed there: a command, or two with | between them. */
function start(name: string, command: string) {
  const own = terminal(name);
  show(name, `$ ${command}`);
  own.seen = own.lines.length;
  const parts = command.split(" | ");
  let before: ChildProcess | undefined;
  for (const [i, part] of parts.entries()) {
    let [file, ...args] = [...part.matchAll(/"([^"]*)"|\S+/g)]
      .map(([word, quoted]) => quoted ?? word);
    let cwd = root;
    if (file === "npx") [file, args[0]] = ["node", "--import=tsx"];
    if (file === "node") file = process.execPath;
    else mkdirSync(cwd = join(folder, name), { recursive: true });
    const child = spawn(file!, args, { cwd, env, stdio: "pipe" });
    children.add(child);
    own.child = child;
    child.on("error", () => {});
    child.stdin.on("error", () => {}); // it may end before it has read all
    child.on("close", () => {
      moment = Date.now();
      children.delete(child);
      if (own.child === child) delete own.child;
    });
    before?.stdout?.pipe(child.stdin);
    before = child;
    const isLast = i === parts.length - 1;
    for (const out of isLast ? [child.stdout, child.stderr] : [child.stderr]) {
      createInterface({ input: out }).on("line", (line) => {
        // Of what Redis and the page log, only that they are there.
        const isLog = (file === "redis-server" && !isReady.test(line)) ||
          (name === "P" && own.lines.length > 0);
        if (isLog || line === "") return;
        own.lines.push(line);
        show(name, line);
      });
    }
  }
}

/** Waits for it; in vain, when nothing happens for so long (ms). */
async function until(ready: () => boolean, patience = 30_000) {
  const begin = moment = Date.now();
  while (!ready()) {
    // What is said again and again is not what is waited for.
    const last = Math.min(moment, begin + 3 * patience);
    if (Date.now() > last + patience) return false;
    await sleep(10);
  }
  return true;
}

/** Whether the terminal has printed these lines since the last look. */
function hasPrinted(own: Terminal, wanted: string[]) {
  let at = own.seen;
  for (const line of wanted) {
    at = 1 + own.lines.findIndex((one, i) => i >= at && fits(line, one));
    if (at === 0) return false;
  }
  own.seen = at;
  return true;
}

// 4. Do, and see.

// What says that a program which goes on is ready for the next step.
const isReady =
  /^listen |\blistens at |^Waiting for |Ready to accept|Enter kills/;

async function perform(steps: ReturnType<typeof stepsOf>) {
  let begin = Date.now(); // of a wait: when the last command was done
  for (const [i, { line, names, command, act, wait }] of steps.entries()) {
    const [name] = names as [string];
    const own = terminal(name);
    const next = steps[i + 1];
    let done: () => boolean;
    if (command) {
      if (!await until(() => !own.child)) end(1, `${name} still runs: ${line}`);
      start(name, command);
      const news = () => own.lines.slice(own.seen);
      const isWaitedFor = next?.names[0] === name && next.wait.length > 0;
      done = () =>
        isWaitedFor || !own.child || news().some((one) => isReady.test(one));
    } else if (act) {
      show(name, act);
      if (!own.child) end(1, `Nothing runs there: ${line}`);
      if (act === "Enter") own.child.stdin!.write("\n");
      else own.child.kill(acts[act]);
      done = () => act === "Enter" || !own.child;
    } else {
      if (wait.length === 0) end(1, `What is there to do? ${line}`);
      const said = `${names.join(", ")} ${say.wait} ${wait.join(", ")}`;
      shown = shown.then(() => console.log(said));
      done = () => names.some((name) => hasPrinted(terminal(name), wait));
    }
    const came = await until(done);
    const seconds = ((Date.now() - begin) / 1000).toFixed(1);
    if (command) begin = Date.now();
    await shown;
    if (!came) end(1, `${say.other} ${line}`);
    if (wait.length > 0) console.log(`… ${seconds} s`);
    await pause(1200);
  }
}

/** Waits for what the text shows, ends all but Redis, and compares. */
async function compare(blocks: ReturnType<typeof blocksOf>) {
  const differing = () =>
    blocks.filter(({ names, lines, inOrder }) => {
      const left = names.flatMap((name) => terminal(name).lines);
      if (left.length !== lines.length) return true;
      if (inOrder) return lines.some((line, i) => !fits(line, left[i]!));
      for (const line of lines) {
        const at = left.findIndex((one) => fits(line, one));
        if (at < 0) return true;
        left.splice(at, 1);
      }
      return false;
    });
  await until(() => differing().length === 0, 10_000);
  // Redis and the page stay; other servers end after the scripts.
  const named = blocks.flatMap(({ names }) => names);
  const others = [...terminals.keys()].filter((name) => !/[RP]/.test(name));
  others.sort((a, b) => Number(named.includes(b)) - Number(named.includes(a)));
  for (const own of others.map(terminal)) {
    own.child?.kill("SIGINT");
    if (!await until(() => !own.child)) end(1, "Ctrl-C does not end it.");
  }
  await shown;
  for (const { label, lines, names } of differing()) {
    console.log(`\n${say.other} ${label}\n${lines.join("\n")}\n---`);
    console.log(names.flatMap((name) => terminal(name).lines).join("\n"));
    process.exitCode = 1;
  }
  if (!process.exitCode) console.log(`\n${say.same}`);
  for (const name of others) terminals.delete(name);
}

console.log(bold(`${experiment.split("\n")[0]}\n`));
if (person) console.log(`${plain(say.who)}\n`);
start("R", "npx tsx extras/redis.ts");
const { lines: said } = terminal("R");
if (!await until(() => said.length > 0)) end(1, "Redis does not start.");
if (person) {
  start("P", "npx tsx extras/board.ts --port 0");
  const page = terminal("P");
  await until(() => page.lines.length > 0);
  await shown;
  console.log(`\n${say.page} ${page.lines[0]!.replace("page at ", "")}`);
}

// A bold word begins each part of the text.
const isPart = new RegExp(`^\\*\\*(${say.parts.join("|")})[.。]\\*\\*`, "m");
const [, ...parts] = experiment.split(isPart);
let answers: string[] = [];
let guess = "";
let isPerformed = false;
for (let i = 0; i < parts.length; i += 2) {
  const part = words.en.parts[say.parts.indexOf(parts[i]!)];
  const body = parts[i + 1]!.trim();
  if (part === "See" && isPerformed) await compare(blocksOf(body));
  console.log(bold(`\n${parts[i]}`));
  if (guess) {
    const right = answers.find((one) => one.startsWith(body.slice(0, 2)));
    const chosen = answers.find((one) => one.startsWith(`${guess})`)) ?? guess;
    console.log(plain(`${say.said}${chosen}\n${say.was}${right ?? ""}`), "\n");
    guess = "";
  }
  const steps = part === "Do" ? stepsOf(body) : [];
  // What one waits for would give the answer away; the rest needs no numbers.
  const lines = body.split("\n").filter((line) =>
    !steps.some((step) => step.line === line && step.wait.length > 0)
  ).map((line) => steps.length > 0 ? line.replace(/^\d+\. /, "") : line);
  // What the terminals print has just been seen.
  const seen = part === "See" && isPerformed ? /^\*\*[A-Z]/m : /$^/;
  console.log(plain(shift(lines.join("\n").split(seen)[0]!)));

  if (part === "Predict") answers = body.match(/(?<=^- )[a-z]\) .*/gm) ?? [];
  if (part === "Try" && person) console.log(plain(say.own));
  if (part === "Do") {
    const missing = steps.map(({ command }) => command.split(" ")[0]!)
      .filter((file) => file && file !== "npx" && file !== "node")
      .find((file) => spawnSync(file, ["--version"]).error);
    do {
      guess = (await ask(say.ask)).toLowerCase().replace(/\)$/, "");
    } while (guess && answers[0] && !answers.some((one) => one[0] === guess));
    if (missing) console.log(`\n${missing} ${say.none}`);
    isPerformed = steps.length > 0 && !missing;
    console.log();
    if (isPerformed) await perform(steps);
  }
}
process.exit();
