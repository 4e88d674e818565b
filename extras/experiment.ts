// Experiment: performs what experiments.md says, in this one terminal.
//
//   Redis:    all that the scripts use, in a Redis of its own
//   Run:      npm run experiment         lists them
//             npm run experiment 5       performs number 5; Ctrl-C ends it
//             npm run experiment 5 zh    in Chinese; else in your language
//             npm run experiment 5 -- --port 3001    settings come after --
//   Partner:  extras/experiments.md and extras/experiments.zh-CN.md, which say
//             at their end how an experiment is written
//   Delivery: the real scripts, on ports that nobody else uses. Status 1 when
//             they do something other than the text says.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, rmSync } from "node:fs";
import { mkdtemp, readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import * as util from "node:util";
import { z } from "zod";
import * as mq from "../config.ts";
import * as text from "./experiment-text.ts";

// 1. Which one, and in which language.
const { LC_ALL, LC_MESSAGES, LANG } = process.env; // as zh_CN.UTF-8, or C
const locale = LC_ALL || LC_MESSAGES || LANG ||
  Intl.DateTimeFormat().resolvedOptions().locale;
const langs = z.enum(["en", "zh", "ask"], "must be en or zh");
const langOf = (word: string) => langs.catch("ask").parse(word.slice(0, 2));
const { args, PORT, MQ_REDIS_PORT, ...config } = mq.settings({
  MQ_LANG: langs.default(langOf(locale)).describe("the language"),
  PORT: mq.PORT,
  MQ_REDIS_PORT: mq.whole(0, 65_535).default(0).describe("0: a free one"),
  MQ_TEXT: z.string().default("").describe("another text than ours"),
}, { allowPositionals: true });
const person = process.stdin.isTTY && process.stdout.isTTY;
async function ask(question: string) {
  const rl = createInterface(process.stdin, process.stdout);
  const leave = () => process.exit(); // Ctrl-D
  rl.on("SIGINT", () => process.exit(130)).on("close", leave);
  const typed = await rl.question(`\n${question}`);
  rl.off("close", leave).close();
  return typed.trim();
}
// npm keeps --lang for itself: of `--lang zh` only zh comes here.
const isLang = (word: string) => word === "en" || word === "zh";
const [number, more] = args.filter((word) => !isLang(word));
let lang = args.find(isLang) ?? config.MQ_LANG;
while (person && lang === "ask") {
  lang = langOf(await ask("English: en  中文: zh  "));
}
const say = lang === "zh" ? text.words.zh : text.words.en;
const root = fileURLToPath(new URL("..", import.meta.url));
const file = config.MQ_TEXT || join(root, "extras", say.file);
const all = await readFile(file, "utf8").catch((err) => mq.fail(err, file));
const experiments = all.replaceAll("\r", "").split(/^## (?=\d)/m).slice(1);
if (number === undefined) {
  const titles = experiments.map((one) => `  ${one.split("\n")[0]}`);
  console.log(`${say.list}\n\n${titles.join("\n")}`);
  process.exit();
}
function end(status: number, line: string): never {
  mq.complain(line);
  process.exit(status);
}
const found = experiments.find((one) => one.startsWith(`${number}. `));
if (!found || more) end(2, `${more ?? number}: ${say.unknown}`);
const hasSteps = /^\d+\. \*\*/m.test(found);
// Not all need R: what has a --redis-url has a Redis of its own.
const needsR = /^\d+\. \*\*.*`npx (?!.*--redis-url)/m.test(found);
// The board draws no streams, and one channel.
const isDrawn = needsR && !/`npx tsx extras\/(stream|topic)-/.test(found);

// 2. Its own Redis: the ports of the text, moved to where all of them are free.
const isPort = /\b(63[78]\d|70[01]\d)\b/g;
async function isFree(port: number) {
  const trial = createServer().listen(port, "127.0.0.1");
  const free = await once(trial, "listening").then(() => true, () => false);
  trial.close();
  return free;
}
let by = MQ_REDIS_PORT > 0 ? MQ_REDIS_PORT - 6379 : 0;
for (let isFound = MQ_REDIS_PORT > 0 || !hasSteps; !isFound;) {
  // A cluster's node also takes the port 10,000 above: that, too, stays below
  // those of outgoing connections, from 32,768.
  by = randomInt(4000, 15_000);
  const ports = new Set(["6379", ...found.match(isPort) ?? []]);
  const tries = [...ports].map((port) => isFree(Number(port) + by));
  isFound = (await Promise.all(tries)).every(Boolean);
}
const experiment = found.replace(isPort, (port) => `${Number(port) + by}`);
const REDIS_URL = `redis://localhost:${6379 + by}/5`;
const env: NodeJS.ProcessEnv = { ...process.env, REDIS_URL };
const set = /^(QUEUE|CHANNEL|STREAM|ORDER|FROM|BATCH|TRIES|.+_MS|PORT|MQ_.+)$/;
for (const name in env) if (set.test(name)) delete env[name];
const folder = await mkdtemp(join(tmpdir(), "redis-mq-")) // of redis-server
  .catch((err) => mq.fail(err, `the folder ${tmpdir()}`));

// 3. The terminals.
type Terminal = { lines: string[]; seen: number; child?: ChildProcess };
const terminals: Record<string, Terminal> = {};
const terminal = (name: string) => terminals[name] ??= { lines: [], seen: 0 };
process.on("exit", () => {
  for (const { child } of Object.values(terminals)) child?.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => process.exit(130));
}
type Style = Parameters<typeof util.styleText>[0]; // which Node 20.11 has not
const style = (how: Style, line: string) =>
  person && util.styleText ? util.styleText(how, line) : line;
const width = Math.min(process.stdout.columns || Infinity, 100);
const tell = (line: string) => console.log(text.wrap(line, width));
const colours = ["green", "magenta", "blue", "gray", "yellow", "cyan"] as const;
function show(name: string, line: string) {
  const tag = style(colours[name.charCodeAt(0) % 6]!, name); // R is yellow
  const rows = person ? text.wrap(line, width - 2) : line;
  console.log(tag, rows.replaceAll("\n", "\n  "));
}

// What says that a program which goes on is ready for the next step.
const isReady =
  /^listen |\blistens at |^page at |^Waiting for |Ready to accept|Enter kills/;
function start(name: string, command: string) {
  let [file = "", ...args] = command.match(/"[^"]*"|\S+/g)!
    .map((word) => word.replaceAll('"', ""));
  let cwd = join(folder, name);
  mkdirSync(cwd, { recursive: true });
  const node = [process.execPath, "--import=tsx/esm", root] as const;
  if (file === "npx") [file, args[0], cwd] = node;
  // The text asks for `export MQ_NAME=A` in terminal A.
  const options = { cwd, env: { ...env, MQ_NAME: name } };
  const child = command.includes(" | ")
    ? spawn(command, { ...options, shell: true })
    : spawn(file, args, options);
  const own = terminal(name);
  own.seen = own.lines.length;
  own.child = child;
  child.on("error", () => {});
  child.on("close", () => delete own.child);
  const hear = (line: string) => {
    // Of what Redis and the page log, only that they are there.
    const isLog = file === "redis-server" && !isReady.test(line);
    if (isLog || line === "" || (name === "P" && own.lines[0])) return;
    own.lines.push(line);
    show(name, line);
  };
  createInterface({ input: child.stdout }).on("line", hear);
  createInterface({ input: child.stderr }).on("line", hear);
}

// 4. Do, and see.
/** Waits for it; in vain, when it takes so long (ms). */
async function until(ready: () => boolean, patience = 90_000) {
  const late = Date.now() + patience;
  for (; Date.now() < late; await sleep(10)) if (ready()) return true;
  return false;
}
/** Whether the terminal has printed these lines since the last look. */
function hasPrinted(own: Terminal, wanted: string[]) {
  let at = own.seen;
  for (const line of wanted) {
    at = 1 + own.lines.findIndex((one, i) => i >= at && text.fits(line, one));
    if (at === 0) return false;
  }
  own.seen = at;
  return true;
}
const acts: Record<string, (child: ChildProcess) => unknown> = {
  "Ctrl-C": (child) => child.kill("SIGINT"),
  "kill -9": (child) => child.kill("SIGKILL"),
  "Enter": (child) => child.stdin!.write("\n"),
};
async function perform({ line, name, does, waits }: text.Step) {
  const own = terminal(name);
  const act = acts[does];
  const must = async (ready: () => boolean) =>
    await until(ready) || end(1, `${say.other}${line}`);
  await must(() => Boolean(act) === Boolean(own.child));
  show(name, act ? does : `$ ${does}`);
  for (const { names, lines } of waits) {
    // Before it comes, which may be at once.
    tell(`${names.join(", ")} ${say.wait}${lines.join(", ")}`);
  }
  if (act) act(own.child!);
  else start(name, does);
  await must(() =>
    does === "Enter" || !own.child || waits[0]?.names[0] === name ||
    (!act && own.lines.slice(own.seen).some((one) => isReady.test(one)))
  );
  const begin = Date.now();
  for (const { names, lines } of waits) {
    await must(() => names.some((name) => hasPrinted(terminal(name), lines)));
    console.log(`… ${((Date.now() - begin) / 1000).toFixed(1)} s`);
  }
}
/** Waits for what the text shows, ends all but Redis and the page, compares. */
async function compare(blocks: text.Block[]) {
  const printed = ({ names }: text.Block) =>
    names.flatMap((name) => terminal(name).lines);
  const differing = () =>
    blocks.filter((one) => !text.isAsSaid(one, printed(one)));
  await until(() => differing().length === 0, 15_000);
  // The last one first: servers come before the scripts that use them.
  const others = Object.keys(terminals).filter((name) => !/[RP]/.test(name));
  for (const own of others.reverse().map(terminal)) {
    own.child?.kill("SIGINT");
    if (!await until(() => !own.child)) end(1, "Ctrl-C does not end it.");
  }
  const wrong = differing();
  for (const one of wrong) {
    console.log(`\n${say.other}${one.label}\n${one.lines.join("\n")}\n---`);
    console.log(printed(one).join("\n"));
    process.exitCode = 1;
  }
  if (!wrong[0]) console.log(`\n${say.same}`);
  for (const name of others) delete terminals[name];
}

tell(style("bold", experiment.split("\n")[0]!));
if (person && hasSteps) tell(`\n${say.who}\n`);
const run = (name: string, does: string) =>
  perform({ line: does, name, does, waits: [] });
if (needsR) await run("R", "npx tsx extras/redis.ts");
if (needsR && !/listens/.test(`${terminal("R").lines}`)) process.exit(1);
if (person && isDrawn) {
  const isTaken = PORT !== 0 && !await isFree(PORT);
  tell(`\n${isTaken ? `${PORT} ${say.taken}\n` : ""}${say.page}`);
  await run("P", `npx tsx extras/board.ts --port ${isTaken ? 0 : PORT}`);
}
const either = new Intl.ListFormat(lang, { type: "disjunction" });
let answers: string[] = []; // to choose from
let guess = "";
let isPerformed = false;
for (const { part, title, body } of text.partsOf(experiment, say)) {
  if (part === "Answer" && !person) continue;
  if (part === "Answer") await ask(say.more);
  if (part === "See" && isPerformed) await compare(text.blocksOf(body));
  const steps = part === "Do" ? text.stepsOf(body) : [];
  const missing = steps.map(({ does }) => does.split(" ")[0]!)
    .find((file) => /^redis-/.test(file) && spawnSync(file, ["-v"]).error);
  if (part === "Do") isPerformed = steps.length > 0 && !missing;

  console.log(style("bold", `\n${title}`));
  if (part === "See" && guess) {
    const right = text.chosen(answers, body.slice(0, 2));
    tell(`${say.said}${guess}${right && `\n${say.was}${right}`}\n`);
  }
  tell(text.plain(isPerformed ? text.unseen(body) : body));
  if (part === "Predict") answers = text.answersOf(body);
  if (missing) tell(`\n${missing} ${say.none}`);
  if (part === "Try" && person && needsR) {
    tell(`\n${say.own}\nREDIS_URL=${REDIS_URL}`);
  }
  if (part !== "Do") continue;
  const letters = either.format(answers.map((one) => one[0]!)); // a, b, or c
  const question = letters ? say.choose.replace("abc", letters) : say.ask;
  guess = "";
  for (let typed = "?"; person && typed && !guess;) {
    typed = await ask(question);
    guess = letters ? text.chosen(answers, typed) : typed;
  }
  console.log();
  for (const step of isPerformed ? steps : []) {
    await perform(step);
    if (person) await sleep(2000); // for a look at the page
  }
}
if (person) await ask(say.end);
process.exit();
