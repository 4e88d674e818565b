// Picture: a small film of the board, extras/board.png, out of a real run.
//
//   Run:      npm run picture    with Chromium on the PATH
//   Method:   real scripts on an embedded Redis of their own; screenshots one
//             after the other become the frames of one APNG, a PNG that moves.
//             https://www.w3.org/TR/png-3/#apng-frame-based-animation

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { crc32, deflateSync, inflateSync } from "node:zlib";
import { chromium as engine } from "playwright-core";
import { chromium, exec, flags, freePort, redis, script } from "./tools.ts";

const file = new URL("../extras/board.png", import.meta.url);
// What tools.ts starts ends with this script at the latest.
const t = { after() {} } as unknown as Parameters<typeof exec>[0];

// 1. The scripts, as in README, and the board in a browser.
assert.ok(chromium, "needs Chromium on the PATH");
const { url } = await redis("embedded server");
const e = { REDIS_URL: url, PORT: String(await freePort()) };
const work = { ...e, WORK_MS: "1800" };
const ready = [
  script(t, "extras/board.ts", [], e).says("page at"),
  script(t, "consumer.ts", ["--name", "A"], work).says("listen"),
  script(t, "extras/reliable-consumer.ts", ["--name", "R"], work).says(
    "listen",
  ),
  script(t, "subscriber.ts", ["--name", "S"], e).says("listen"),
  script(t, "subscriber.ts", ["--name", "T"], e).says("listen"),
];
await Promise.all(ready);
const browser = await engine.launch({ executablePath: chromium, args: flags });
const page = await browser.newPage({
  locale: "en-US",
  viewport: { width: 960, height: 810 },
  deviceScaleFactor: 2 / 3,
});
await page.goto(`http://127.0.0.1:${e.PORT}/`);
const says = (where: string, text: string) =>
  page.locator(where, { hasText: text }).waitFor();
await says("#hearers", "2 subscribers listen");

// 2. What happens in the film, and the film.
let running = true;
async function play() {
  await page.click('[href="/pubsub"]');
  await says("#length", "0");
  await sleep(700);
  for (let i = 0; i < 3; i++) {
    await page.click('[href="/prodcons"]');
    await sleep(300);
  }
  await sleep(1000);
  await script(t, "publisher.ts", ["news"], e).status;
  await sleep(1300);
  running = false;
}
const orders = [1, 2, 3, 4].map((i) => `order ${i}`);
await script(t, "producer.ts", orders, e).status;
await says("#length", "2");
await sleep(900); // all boxes have come in, and two are taken
const played = play();
const shots: { png: Buffer; at: number }[] = [];
while (running) {
  const at = performance.now();
  shots.push({ png: await page.screenshot(), at });
  await sleep(at + 100 - performance.now());
}
await played;
await browser.close();

// 3. A PNG: a signature, then chunks of length, type, data and checksum.
const four = (number: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  return bytes;
};
function chunk(type: string, ...data: Buffer[]) {
  const body = Buffer.concat([Buffer.from(type), ...data]);
  return Buffer.concat([four(body.length - 4), body, four(crc32(body))]);
}

/** The pixels of a screenshot, each as one number, 0xRRGGBB. */
function pixels(png: Buffer) {
  const data: Buffer[] = [];
  for (let at = 8; at < png.length;) {
    const end = at + 8 + png.readUInt32BE(at);
    const type = png.toString("latin1", at + 4, at + 8);
    if (type === "IDAT") data.push(png.subarray(at + 8, end));
    at = end + 4;
  }
  assert.equal(png.readUInt16BE(24), 0x0802, "8 bits each of red, green, blue");
  const raw = inflateSync(Buffer.concat(data));
  const row = width * 3;
  const rgb = Buffer.alloc(row * height);
  for (let at = 0; at < rgb.length; at++) {
    const y = Math.floor(at / row);
    const left = at % row < 3 ? 0 : rgb[at - 3]!;
    const up = y === 0 ? 0 : rgb[at - row]!;
    const corner = at % row < 3 || y === 0 ? 0 : rgb[at - row - 3]!;
    const filter = raw[y * (row + 1)]!; // stands before each row
    rgb[at] = raw[at + y + 1]! + guess(filter, left, up, corner);
  }
  return Uint32Array.from(
    { length: width * height },
    (_, p) => rgb.readUIntBE(3 * p, 3),
  );
}
/** What a row's filter takes a byte for; the file has the difference. */
function guess(filter: number, left: number, up: number, corner: number) {
  if (filter === 0) return 0;
  if (filter === 1) return left;
  if (filter === 2) return up;
  if (filter === 3) return (left + up) >> 1;
  // Paeth's: the one nearest to left + up - corner.
  const [a, b] = [Math.abs(up - corner), Math.abs(left - corner)];
  const c = Math.abs(left + up - 2 * corner);
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

// 4. The 255 colours that are most seen, and of the others the nearest ones.
const width = shots[0]!.png.readUInt32BE(16);
const height = shots[0]!.png.readUInt32BE(20);
const frames = shots.map(({ png }) => pixels(png));
const uses = new Map<number, number>();
for (const frame of frames) {
  for (const rgb of frame) uses.set(rgb, (uses.get(rgb) ?? 0) + 1);
}
const most = [...uses].sort(([, a], [, b]) => b - a).slice(0, 255);
const palette = most.map(([rgb]) => [rgb >> 16, rgb >> 8 & 255, rgb & 255]);
const clear = palette.length; // one place more, that is transparent
function nearest(rgb: number) {
  const far = palette.map(([r, g, b]) =>
    Math.hypot(r! - (rgb >> 16), g! - (rgb >> 8 & 255), b! - (rgb & 255))
  );
  return far.indexOf(Math.min(...far));
}
const place = new Map([...uses.keys()].map((rgb) => [rgb, nearest(rgb)]));

// 5. Frames: what is as before stays transparent, which takes hardly a byte.
let order = 0; // of the chunks that move
const out = frames.flatMap((frame, i) => {
  const raw = Buffer.alloc((width + 1) * height); // each row's filter is 0
  frame.forEach((rgb, p) => {
    const same = frames[i - 1]?.[p] === rgb;
    raw[p + Math.floor(p / width) + 1] = same ? clear : place.get(rgb)!;
  });
  const data = deflateSync(raw, { level: 9 });
  const { at } = shots[i]!;
  const ms = Math.round((shots[i + 1]?.at ?? at + 1000) - at);
  // The whole picture from 0, 0, so many 1000ths of a second, over the last.
  const control = [order++, width, height, 0, 0, ms << 16 | 1000].map(four);
  return [
    chunk("fcTL", ...control, Buffer.from([0, 1])),
    i === 0 ? chunk("IDAT", data) : chunk("fdAT", four(order++), data),
  ];
});
const film = Buffer.concat([
  Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
  chunk("IHDR", four(width), four(height), Buffer.from([8, 3, 0, 0, 0])),
  chunk("acTL", four(frames.length), four(0)), // 0: again and again
  chunk("PLTE", Buffer.from([...palette, [0, 0, 0]].flat())),
  chunk("tRNS", Buffer.alloc(clear + 1, 255).fill(0, clear)),
  ...out,
  chunk("IEND"),
]);
const seconds = (shots.at(-1)!.at - shots[0]!.at) / 1000 + 1;
console.log(
  `${frames.length} frames, ${seconds.toFixed(1)} s, ${width} x ${height}, ` +
    `${Math.round(film.length / 1000)} kB`,
);
assert.ok(film.length < 500_000, "too many for a README");
writeFileSync(file, film);
process.exit();
