// The board in a browser: what the scripts do is seen, and nothing is claimed.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, describe, test, type TestContext } from "node:test";
import { type Browser, chromium as engine, type Page } from "playwright-core";
import {
  atOnce,
  chromium,
  flags,
  look,
  names,
  noRedisServer,
  type Redis,
  redis,
  script,
  until,
} from "./tools.ts";

describe("board", {
  skip: chromium ? false : "needs Chromium on the PATH",
  concurrency: atOnce,
}, () => {
  let browser: Browser, shared: Redis;
  before(async () => {
    shared = await redis("embedded server");
    browser = await engine.launch({ executablePath: chromium, args: flags });
  });
  after(async () => {
    await browser.close();
    await shared.remove();
  });

  async function open(
    t: TestContext,
    url = shared.url,
    options: Parameters<Browser["newContext"]>[0] = {},
  ) {
    const e = { REDIS_URL: url, ...names(), PORT: "0" };
    const board = script(t, "extras/board.ts", [], e);
    await board.says("page at");
    const address = board.out.match(/page at (\S+)/)![1]!;
    const context = await browser.newContext({ locale: "en-US", ...options });
    t.after(() => context.close());
    const page = await context.newPage();
    const problems: string[] = [];
    page.on("pageerror", (err) => problems.push(err.message));
    await page.goto(address);
    const client = await look(t, url);
    return { e, board, address, context, page, problems, client };
  }
  const sees = (page: Page, where: string, text: string) =>
    page.locator(where).getByText(text).first().waitFor();
  /** Counts every box that ever stands in the queue. */
  const count = (page: Page) =>
    page.evaluate(`window.seen = 0; new MutationObserver((all) => {
      for (const { addedNodes } of all) for (const node of addedNodes)
        if (!node.counted) { node.counted = true; window.seen++; }
    }).observe(document.getElementById("queue"), { childList: true });`);
  const seen = (page: Page) => page.evaluate("window.seen") as Promise<number>;

  test("ten clicks with an idle consumer show ten boxes, and a push from a terminal shows too", async (t) => {
    const { e, page, problems } = await open(t);
    const consumer = script(t, "consumer.ts", [], e);
    await consumer.says("listen");
    await sees(page, "#takers", "1 consumer");
    await count(page);
    const link = page.locator('.send[href="/prodcons"]');
    for (let i = 1; i <= 10; i++) {
      await link.click();
      await until(`${i} taken`, () => consumer.tasks.length === i);
    }
    await until("ten boxes", async () => await seen(page) >= 10);
    script(t, "producer.ts", ["from a terminal"], e);
    await sees(page, "#queue", "from a terminal");
    await sees(page, "#log", "from a terminal");
    await until(
      "an empty queue",
      async () => await page.locator("#queue li").count() === 0,
    );
    assert.deepEqual(problems, []);
  });

  test("a published message becomes a copy for each subscriber; with none it is gone", async (t) => {
    const { e, page, problems } = await open(t);
    script(t, "publisher.ts", ["nobody"], e);
    await sees(page, "#channel", "nobody");
    await sees(page, "#news", "nobody was listening: gone");
    const two = [1, 2].map(() => script(t, "subscriber.ts", [], e));
    await Promise.all(two.map((one) => one.says("listen")));
    await sees(page, "#hearers", "2 subscribers listen");
    assert.equal(await page.locator("#subscribers .figure").count(), 2);
    script(t, "publisher.ts", ["news"], e);
    await until(
      "two copies",
      async () => await page.locator("#pubsub > .fly").count() === 2,
    );
    assert.deepEqual(problems, []);
  });

  test("two consumers are two figures, a reliable one with what it has in hand, and the end they take from is seen", async (t) => {
    const { e, page, client, problems } = await open(t);
    await client.lPush(e.QUEUE, ["1", "2", "3"]);
    await sees(page, "#end", "the newest");
    const work = ["--order", "fifo", "--work-ms", "600000"];
    const reliable = script(t, "extras/reliable-consumer.ts", work, e);
    await reliable.says("Task get 1");
    await sees(page, "#consumers .figure .box", "1");
    const plain = script(t, "consumer.ts", work, e);
    await plain.says("Task get 2");
    await sees(page, "#takers", "2 consumers");
    assert.deepEqual(
      await page.locator("#queue li").allTextContents(),
      ["3"],
    );
    assert.deepEqual(problems, []);
  });

  test("markup in a message and in the names of queue and channel is text; a backlog of 500 is 20 boxes and a bar", async (t) => {
    const evil = "<img src=x onerror=document.title='evil'>";
    const more = { QUEUE: `${evil}${names().QUEUE}`, CHANNEL: "__proto__" };
    const e = { REDIS_URL: shared.url, ...more, PORT: "0" };
    const board = script(t, "extras/board.ts", [], e);
    await board.says("page at");
    const page = await (await browser.newContext({ locale: "en-US" }))
      .newPage();
    t.after(() => page.close());
    const client = await look(t, shared.url);
    await client.lPush(e.QUEUE, [...Array(499).keys()].map(String));
    await page.goto(board.out.match(/page at (\S+)/)![1]!);
    await client.lPush(e.QUEUE, evil);
    await sees(page, "#length", "500 messages wait");
    await sees(page, "#queue", "<img src=x");
    await until(
      "20 boxes",
      async () => await page.locator("#queue li").count() === 20,
    );
    assert.ok(await page.locator("#more").isVisible());
    await client.publish("__proto__", "polluted?");
    await sees(page, "#channel", "polluted?");
    assert.equal(await page.title(), "Redis Message Queue");
    assert.equal(await page.locator("img").count(), 0);
  });

  test("Redis stopped and started: the board says so and comes back by itself", async (t) => {
    const own = await redis("embedded server");
    t.after(() => own.remove());
    const { page } = await open(t, own.url);
    await sees(page, "#length", "The queue is empty");
    await own.stop();
    await sees(page, "#note", "Redis does not answer");
    await own.start();
    await page.locator("#note").getByText("Redis").waitFor({ state: "hidden" });
    await page.locator('.send[href="/prodcons"]').click();
    await sees(page, "#length", "1 message waits");
  });

  test(
    "where Redis allows neither MONITOR nor CLIENT LIST the board says so and draws the queue",
    { skip: noRedisServer },
    async (t) => {
      const own = await redis("redis-server");
      t.after(() => own.remove());
      const admin = await look(t, own.url);
      await admin.sendCommand(
        "ACL SETUSER managed on >pw ~* &* +@all -@dangerous -@admin".split(" "),
      );
      const { page } = await open(t, own.url.replace("//", "//managed:pw@"));
      await sees(page, "#deaf", "does not let us see commands");
      await sees(page, "#takers", "does not let us see the consumers");
      await page.locator('.send[href="/prodcons"]').click();
      await until(
        "the box",
        async () => await page.locator("#queue li").count() === 1,
      );
    },
  );

  test("reloads and many pages are one look at Redis, and none is left when all are closed", async (t) => {
    const own = await redis("embedded server");
    t.after(() => own.remove());
    const client = await look(t, own.url);
    const board = script(t, "extras/board.ts", [], {
      REDIS_URL: own.url,
      PORT: "0",
    });
    await board.says("page at");
    const live = board.out.match(/http:\S+/)![0] + "live";
    const visit = async () => {
      const reader = (await fetch(live)).body!.getReader();
      await reader.read();
      return reader;
    };
    const looks = async () =>
      Number(
        (await client.info("commandstats"))
          .match(/cmdstat_llen:calls=(\d+)/)?.[1] ?? 0,
      );
    const pace = async () => { // looks a ms
      const from = await looks(), start = performance.now();
      await until("some looks", async () => await looks() > from + 10);
      return (await looks() - from) / (performance.now() - start);
    };
    let last = await visit();
    const alone = await pace();
    for (let i = 0; i < 10; i++) {
      await last.cancel();
      last = await visit();
    }
    const reloaded = await pace();
    assert.ok(reloaded < 3 * alone, `${alone} and ${reloaded} a ms`);
    const many = await Promise.all(Array.from({ length: 30 }, visit));
    const shared = await pace();
    assert.ok(shared < 3 * alone, `${alone} and ${shared} a ms`);
    await Promise.all([last, ...many].map((reader) => reader.cancel()));
    await until("no more looks", async () => {
      const before = await looks();
      await new Promise((resolve) => setTimeout(resolve, 500));
      return await looks() === before;
    });
  });

  test("without JavaScript the two links send and lead back", async (t) => {
    const { e, page, address, client } = await open(t, shared.url, {
      javaScriptEnabled: false,
    });
    await page.locator('.send[href="/prodcons"]').click();
    await page.waitForURL(address);
    assert.equal(await client.lLen(e.QUEUE), 1);
  });

  for (const colorScheme of ["light", "dark"] as const) {
    for (const locale of ["zh-CN", "en-US"]) {
      test(`at 320 px nothing scrolls sideways, and axe-core finds no violation, ${colorScheme}, ${locale}`, async (t) => {
        const { e, page, client } = await open(t, shared.url, {
          colorScheme,
          locale,
          viewport: { width: 320, height: 800 },
          bypassCSP: true,
          reducedMotion: "reduce", // a box half come in has no contrast yet
        });
        const long = "w".repeat(500);
        await client.lPush(e.QUEUE, ["1", long, "一条很长的消息".repeat(20)]);
        await until(
          "the boxes",
          async () => await page.locator("#queue li").count() === 3,
        );
        assert.equal(
          await page.evaluate("document.documentElement.scrollWidth"),
          320,
        );
        const zh = locale === "zh-CN";
        await sees(page, "#length", zh ? "3 条消息在等" : "3 messages wait");
        const axe = createRequire(import.meta.url).resolve(
          "axe-core/axe.min.js",
        );
        await page.addScriptTag({ content: readFileSync(axe, "utf8") });
        const { violations, passes } = await page.evaluate("axe.run()") as {
          violations: { id: string }[];
          passes: unknown[];
        };
        assert.deepEqual(violations.map(({ id }) => id), []);
        assert.ok(passes.length > 10);
      });
    }
  }
});
