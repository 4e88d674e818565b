// Experiment text: reads what experiments.md says, and breaks it into lines.
//
//   Redis:    none
//   Run:      nothing to run here; extras/experiment.ts loads it
//   Partner:  extras/experiments.md and extras/experiments.zh-CN.md
//   Delivery: none

import { PassThrough } from "node:stream";
import { createInterface } from "node:readline";

/** The parts of an experiment, and what experiment.ts says between them. */
export const words = {
  en: {
    file: "experiments.md",
    parts: ["Predict", "Do", "See", "Why", "Try", "Answer"],
    list: "npm run experiment 1 performs number 1:",
    unknown: "no such experiment; npm run experiment lists them",
    who: "We type, you predict. Letters are terminals; R is Redis.",
    page: "See it move: open this page in your browser, beside this terminal:",
    taken: "is taken, so the page has another port.",
    ask: "Your prediction, in your own words, then Enter: ",
    choose: "Your prediction (abc; or none), then Enter: ",
    wait: "waits until it prints: ",
    none: "is not installed: this is not performed, only shown.",
    said: "You said: ",
    was: "It was:   ",
    same: "Every line is as expected.",
    other: "This is not as expected: ",
    own: "Until you end this, your own terminals can use this Redis:",
    more: "Enter shows the answer. ",
    end: "Enter ends it. ",
  },
  zh: {
    file: "experiments.zh-CN.md",
    parts: ["猜一猜", "动手", "看到", "为什么", "试一试", "答案"],
    list: "npm run experiment 1 演示第 1 个实验：",
    unknown: "没有这个实验；npm run experiment 列出全部",
    who: "我们输入，你来猜。字母表示终端，R 是 Redis。",
    page: "想看它动起来，就在浏览器里打开这个页面，放在终端旁边：",
    taken: "已被占用，页面换了一个端口。",
    ask: "你猜会怎样？用自己的话说，然后按回车：",
    choose: "你猜会怎样？输入 abc（或者不猜），然后按回车：",
    wait: "等到打印出：",
    none: "没有安装：这一部分不演示，只显示。",
    said: "你猜的：",
    was: "实际上：",
    same: "每一行都和预期的一样。",
    other: "和预期的不一样：",
    own: "结束之前，你自己的终端也可以用这个 Redis：",
    more: "按回车看答案。",
    end: "按回车结束。",
  },
};

/** Its parts, each with the English name: a bold word begins each of them. */
export function partsOf(experiment: string, { parts } = words.en) {
  const begin = new RegExp(`^\\*\\*(${parts.join("|")})[.。]\\*\\*`, "m");
  const [, ...pieces] = experiment.split(begin);
  return pieces.flatMap((title, i) => {
    const part = words.en.parts[parts.indexOf(title)]!;
    return i % 2 ? [] : [{ part, title, body: pieces[i + 1]!.trim() }];
  });
}

/** The answers to choose from, and the one of a letter: ｂ）, too, is b. */
export const answersOf = (body: string) =>
  [...body.matchAll(/^- ([a-z]\) .*)/gm)].map(([, answer]) => plain(answer!));
export function chosen(answers: string[], typed: string) {
  const pattern = /^\(?([a-z])(?!\w)\W*$/;
  const [, letter] = typed.normalize("NFKC").toLowerCase().match(pattern) ?? [];
  return answers.find((one) => one[0] === letter) ?? "";
}

/** What is done in which terminal, and what is waited for then. */
type Wait = { names: string[]; lines: string[] };
export type Step = Record<"line" | "name" | "does", string> & { waits: Wait[] };
export function stepsOf(body: string) {
  const steps: Step[] = [];
  for (const line of body.match(/^\d+\. .*/gm) ?? []) {
    const [, letters = "", what = ""] = line.split(/^\d+\. \*\*(.+?)\*\* /);
    const names = letters.match(/[A-Z]/g) ?? [];
    const lines = [...what.matchAll(/`([^`]+)`/g)].map(([, code]) => code!);
    const [[name], [does], last] = [names, lines, steps.at(-1)];
    const isWait = what !== `\`${does}\``;
    if (!name || !does || (isWait && !last)) throw Error(`no step: ${line}`);
    if (isWait) last!.waits.push({ names, lines });
    else steps.push({ line, name, does, waits: [] });
  }
  return steps;
}

/** What See says of the terminals: their letters, and all that they print. */
export type Block = ReturnType<typeof blocksOf>[number];
export function blocksOf(body: string) {
  const found = body.matchAll(/^\*\*([^*]+)\*\*\n\n```text\n(.*?)\n```/gms);
  return [...found].map(([, label = "", block = ""]) => {
    const names = label.match(/\b[A-Z]\b/g) ?? [];
    return { label, names, lines: block.split("\n").flatMap(range) };
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
export function fits(wanted: string, line: string) {
  const pattern = wanted.replace(/\W/g, "\\$&").replaceAll("\\…", ".*");
  return RegExp(`^${pattern}$`, "s").test(line);
}
/** Whether this was printed: in this order, if the label is one letter. */
export function isAsSaid({ label, lines }: Block, printed: string[]) {
  const left = [...printed];
  const isNext = (line: string) => {
    const at = left.findIndex((one) => fits(line, one));
    left.splice(at, 1);
    return label.length === 1 ? at === 0 : at >= 0;
  };
  return printed.length === lines.length && lines.every(isNext);
}

/** Without what one sees when it is performed, or what gives an answer away. */
export const unseen = (body: string) =>
  body.replace(/^\*\*[A-Z][^]*/m, "").replace(/^\d+\. \*.*[^`]$\n?/gm, "")
    .replace(/^\d+\. /gm, "");

/** Markdown without its marks, as one reads it in a terminal. */
export const plain = (text: string) =>
  text.replace(/```\w*\n|```|\*\*/g, "")
    // *emphasis*, but not the `*` of commands
    .replace(/(`[^`]*`)|\*([^*]+)\*/g, (_, code, word) => code ?? word)
    .replace(/\[(.*?)\]\(.*?\)/g, "$1").replaceAll("`", "").trim();

// Node's own count of the cells that a text takes: 订 takes two.
const measure = createInterface({ input: new PassThrough() });
function cells(text: string) {
  measure.setPrompt(text);
  return measure.getCursorPos().cols;
}
/** Breaks lines that are wider, so that no word is cut, or stands alone. */
export function wrap(text: string, width: number) {
  const fold = (line: string) => {
    const indent = line.startsWith("- ") ? "  " : "";
    const rows = [[""]];
    const isFull = (row: string[]) => cells(row.join("").trimEnd()) > width;
    for (const word of wordsOf(line)) {
      if (isFull([...rows.at(-1)!, word])) rows.push([indent]);
      rows.at(-1)!.push(word);
    }
    const [before, last] = rows.slice(-2);
    if (last?.length === 2) last.splice(1, 0, before!.pop()!);
    return rows.map((row) => row.join("").trimEnd()).join("\n");
  };
  return text.split("\n").map(fold).join("\n");
}
const segmenter = new Intl.Segmenter("zh", { granularity: "word" });
/** Where a line may be broken: behind a space, and between Chinese words. */
function wordsOf(line: string) {
  const words = [...segmenter.segment(line)].map(({ segment }) =>
    /\p{sc=Han}/u.test(segment) ? `\0${segment}\0` : segment
  );
  return words.join("").replace(/[，。、；：？！）”]|,(?=\S)/g, "$&\0")
    .replace(/[（“]/g, "\0$&") // and neither before 。 nor behind （
    .replace(/\0+(?=[ \p{Pe}\p{Pf}\p{Po}])|(?<=[\p{Ps}\p{Pi}])\0+/gu, "")
    .split(/\0+|(?<= )(?!\0)/).filter(Boolean);
}
