// The board in a browser: what the scripts do is seen, and nothing is claimed.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { after, before, describe, test, type TestContext } from "node:test";
import { type Browser, chromium as engine, type Page } from "playwright-core";
import {
  atOnce,
  chromium,
  flags,
  kinds,
  look,
  names,
  noRedisServer,
  type Redis,
  redis,
  script,
  soak,
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

  let db = 5;
  async function open(
    t: TestContext,
    url = shared.url,
    options: Parameters<Browser["newContext"]>[0] = {},
  ) {
    // The board takes all that wait in its database for its consumers.
    db = db === 15 ? 6 : db + 1;
    const e = {
      REDIS_URL: url.replace(/5$/, String(db)),
      ...names(),
      PORT: "0",
    };
    const board = script(t, "extras/board.ts", [], e);
    await board.says("page at");
    const address = board.out.match(/page at (\S+)/)![1]!;
    const context = await browser.newContext({ locale: "en-US", ...options });
    t.after(() => context.close());
    const page = await context.newPage();
    const problems: string[] = [];
    page.on("pageerror", (err) => problems.push(err.message));
    await page.goto(address);
    const client = await look(t, e.REDIS_URL);
    return { e, board, address, context, page, problems, client };
  }
  const sees = (page: Page, where: string, text: string) =>
    page.locator(where).getByText(text).first().waitFor();
  /**
   * Counts every box that ever stands in the queue, and for how long it does.
   */
  const count = (page: Page) =>
    page.evaluate(`window.seen = 0; window.shortest = Infinity;
    const all = new Map();
    new MutationObserver(() => {
      const now = performance.now();
      const here = [...document.getElementById("queue").children];
      for (const box of here) if (!all.has(box)) { all.set(box, now); seen++; }
      for (const [box, since] of all) if (since && !here.includes(box)) {
        shortest = Math.min(shortest, now - since);
        all.set(box, 0);
      }
    }).observe(document.getElementById("queue"), { childList: true });`);
  const seen = (page: Page) => page.evaluate("window.seen") as Promise<number>;
  /** Redis's own words, as another program sends them; a line each. */
  function raw(t: TestContext, url: string, ...lines: string[]) {
    const { port, pathname } = new URL(url);
    const socket = connect(Number(port), "127.0.0.1");
    t.after(() => socket.destroy());
    socket.write([`select ${pathname.slice(1)}`, ...lines, ""].join("\r\n"));
    return socket.resume();
  }

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
    const shortest = await page.evaluate("shortest") as number;
    assert.ok(shortest >= 600, `a box was seen for ${shortest} ms only`);
    assert.deepEqual(problems, []);
  });

  test("a push and a publish of another program, as from redis-cli, are seen, in the picture and in the log", async (t) => {
    const { e, page, problems } = await open(t);
    await sees(page, "#length", "The queue is empty");
    raw(t, shared.url, `rpush ${e.QUEUE} not here`); // in another database
    const lines = [`rpush ${e.QUEUE} pushed`, `publish ${e.CHANNEL} published`];
    raw(t, e.REDIS_URL, ...lines);
    await Promise.all([
      sees(page, "#queue", "pushed"),
      sees(page, "#channel", "published"),
    ]);
    await sees(page, "#log", `${e.QUEUE} pushed`);
    await sees(page, "#log", `${e.CHANNEL} published`);
    await sees(
      page,
      "#log",
      `(db 5) rpush ${e.QUEUE} not here`.replace("rpush", "RPUSH"),
    );
    assert.deepEqual(await page.locator("#queue li").allTextContents(), [
      "pushed",
    ]);
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
    assert.equal(await page.locator("#consumers .figure").count(), 1);
    const plain = script(t, "consumer.ts", work, e);
    await plain.says("Task get 2");
    await sees(page, "#takers", "2 consumers");
    assert.deepEqual(
      await page.locator("#queue li").allTextContents(),
      ["3"],
    );
    assert.deepEqual(problems, []);
  });

  test("--order fifo moves the other end, for consumers of each kind", async (t) => {
    const { e, page, client, problems } = await open(t);
    const boxes = () => page.locator("#queue li").allTextContents();
    const kind = async (file: string, order: string, ...more: string[]) => {
      await client.del(e.QUEUE);
      const args = ["--order", order, "--work-ms", "600000", ...more];
      const consumer = script(t, file, args, e);
      await consumer.says("listen");
      await client.lPush(e.QUEUE, ["a", "b", "c", "d"]);
      const fifo = order === "fifo";
      await consumer.says(`Task get ${fifo ? "a" : "d"}`);
      await sees(page, "#end", fifo ? "the oldest" : "the newest");
      // The next one stands at the side of the consumers, filled.
      const wanted = fifo ? ["d", "c", "b"] : ["a", "b", "c"];
      await until(
        `${wanted} for ${file}`,
        async () => String(await boxes()) === String(wanted),
      );
      const next = await page.locator("#queue .next").allTextContents();
      assert.deepEqual(next, wanted.slice(-1));
      await consumer.end("SIGKILL");
    };
    await kind("consumer.ts", "fifo");
    await kind("extras/reliable-consumer.ts", "fifo");
    await kind("consumer.ts", "lifo");
    await kind("extras/batch-consumer.ts", "fifo", "--batch", "1");
    assert.deepEqual(problems, []);
  });

  test("who took a message is shown only where Redis says it; idle figures don't flicker, and their asking is one line each", async (t) => {
    const { e, page, client, problems } = await open(t);
    const two = [1, 2].map(() => script(t, "consumer.ts", [], e));
    await Promise.all(two.map((one) => one.says("listen")));
    // Waits less, and longer between, so that looks fall in between.
    const restless = raw(t, e.REDIS_URL, `blpop ${e.QUEUE} 0.15`);
    restless.on("data", async (data) => {
      if (!String(data).includes("*-1")) return; // nothing came
      await new Promise((resolve) => setTimeout(resolve, 50));
      restless.write(`blpop ${e.QUEUE} 0.15\r\n`);
    });
    await sees(page, "#takers", "3 consumers");
    await page.evaluate(`window.changes = 0; const last = new Map();
      (function look() {
        for (const one of document.querySelectorAll("#consumers .figure")) {
          if (last.get(one) !== one.textContent) changes++;
          last.set(one, one.textContent);
        }
        requestAnimationFrame(look);
      })()`);
    const lines = page.locator("#log li", { hasText: e.QUEUE });
    await until(
      "somebody's 25 times in one line",
      async () =>
        (await lines.allTextContents())
          .some((text) => Number(text.split("× ")[1]) >= 25),
    );
    // Three that appear; and where this machine stops one for half a second, it
    // is no flicker.
    const changes = await page.evaluate("changes") as number;
    assert.ok(changes <= 3 + 6, `${changes} changes`);
    assert.ok(await lines.count() <= 3, String(await lines.allTextContents()));
    restless.destroy();
    await sees(page, "#takers", "2 consumers");
    // Its way as the browser has it: at its end the box is there, or faded.
    const flights = async () => {
      const ends = await page.evaluate(`
        [...document.querySelectorAll("#prodcons > .fly")]
          .map((box) => box.getAnimations()[0]?.effect.getKeyframes().at(-1))
          .map((end) => Number(end?.opacity))`) as number[];
      return ends.filter((opacity) => opacity >= 0);
    };
    await client.lPush(e.QUEUE, "whose?");
    await until("a box", async () => (await flights()).length > 0);
    const ends = await flights();
    assert.ok(!ends.includes(1), String(ends));
    await Promise.all(two.map((one) => one.end("SIGKILL")));
    const work = ["--work-ms", "600000"];
    // One that is dead, and had nothing in hand, is no figure.
    await client.sAdd(`${e.QUEUE}:inhand`, "somebody");
    const reliable = script(t, "extras/reliable-consumer.ts", work, e);
    await reliable.says("listen");
    script(t, "consumer.ts", work, e);
    await sees(page, "#takers", "2 consumers");
    assert.equal(await page.locator("#consumers .figure").count(), 2);
    await client.lPush(e.QUEUE, ["1", "2"]);
    await reliable.says("Task get");
    await until(
      "a box for its holder",
      async () => (await flights()).includes(1),
    );
    assert.deepEqual(problems, []);
  });

  test("where nobody takes, no box leaves: of pushes one by one, at once, and beyond what is drawn", async (t) => {
    const { e, page, client, problems } = await open(t);
    await sees(page, "#length", "The queue is empty");
    await page.evaluate(`window.left = []; new MutationObserver((all) => {
      for (const { addedNodes } of all) for (const node of addedNodes)
        if (node.className === "box fly") left.push(node.textContent);
    }).observe(document.getElementById("prodcons"), { childList: true });`);
    for (let i = 1; i <= 100; i++) {
      await client.lPush(e.QUEUE, String(i));
      // At any moment of the board's looks, ten a second.
      await new Promise((resolve) => setTimeout(resolve, i * 7 % 30));
    }
    await client.lPush(e.QUEUE, Array.from({ length: 100 }, (_, i) => `${i}`));
    await sees(page, "#length", "200 messages wait");
    await client.lPop(e.QUEUE); // and now one leaves
    await until(
      "a box that leaves",
      async () => await page.evaluate("left.length > 0"),
    );
    assert.deepEqual(await page.evaluate("left"), ["99"]);
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
    const name = "<img/src=x/onerror=document.title='evil'>";
    raw(t, shared.url, `client setname ${name}`, "blpop nobody:pushes:here 0");
    await sees(page, "#consumers", "<img/src=x/onerror=");
    assert.equal(await page.title(), "Redis Message Queue");
    assert.equal(await page.locator("img").count(), 0);
  });

  test("Redis stopped and started: the board says so and comes back by itself", async (t) => {
    const own = await redis("embedded server");
    t.after(() => own.remove());
    const { page, address, client } = await open(t, own.url);
    await sees(page, "#length", "The queue is empty");
    await own.stop();
    await sees(page, "#note", "Redis does not answer");
    await own.start();
    await page.locator("#note").getByText("Redis").waitFor({ state: "hidden" });
    await page.locator('.send[href="/prodcons"]').click();
    await sees(page, "#length", "1 message waits");

    // Also a page that is opened meanwhile.
    await page.goto("about:blank");
    await until("nobody who looks", async () => {
      const all = await client.clientList();
      return !all.some(({ cmd }) => cmd === "monitor");
    });
    await own.stop();
    await page.goto(address);
    await sees(page, "#note", "Redis does not answer");
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

  test("twenty tabs at once show the same, also when the first one is closed", async (t) => {
    const { context, page: first, address, client, e } = await open(t);
    const pages = await Promise.all(Array.from({ length: 19 }, async () => {
      const page = await context.newPage();
      await page.goto(address);
      return page;
    }));
    await client.lPush(e.QUEUE, "1");
    await Promise.all(
      [first, ...pages].map((page) => sees(page, "#length", "1 message waits")),
    );
    await first.close(); // the one that listens for all of them
    await client.lPush(e.QUEUE, "2");
    await Promise.all(
      pages.map((page) => sees(page, "#length", "2 messages wait")),
    );
  });

  test("a backlog of 1, 20, 500 and millions are told apart at sight", async (t) => {
    const own = await redis(kinds[0]!);
    t.after(() => own.remove());
    const { e, page, client } = await open(t, own.url);
    const fill = `local one = {}
      for i = 1, 1000 do one[i] = i end
      while redis.call("LLEN", KEYS[1]) < tonumber(ARGV[1]) do
        local rest = ARGV[1] - redis.call("LLEN", KEYS[1])
        redis.call("RPUSH", KEYS[1], unpack(one, 1, math.min(1000, rest)))
      end`;
    const sights: (string | number)[][] = [];
    for (const length of [1, 20, 500, soak(10_000_000)]) {
      for (let part = 0; part < length; part += 1_000_000) {
        const upTo = String(Math.min(length, part + 1_000_000));
        await client.eval(fill, { keys: [e.QUEUE], arguments: [upTo] });
      }
      const words = length === 1 ? "1 message waits" : "messages wait";
      await sees(page, "#length", words);
      const text = `${length.toLocaleString("en")} ${words.slice(-13)}`;
      if (length > 1) await sees(page, "#length", text);
      const boxes = await page.locator("#queue li").count();
      // The part of the bar that is seen.
      const bar = await page.evaluate(`(() => {
        const { hidden, clientWidth, style } = document.getElementById("more");
        const cut = parseFloat(style.clipPath.split(" ")[1]);
        return hidden ? 0 : clientWidth * (1 - cut / 100);
      })()`) as number;
      sights.push([boxes, Math.round(bar / 40)]); // as wide as a thumb
    }
    assert.deepEqual(sights[0], [1, 0]);
    assert.deepEqual(sights[1], [20, 0]);
    assert.equal(new Set(sights.map(String)).size, 4, String(sights));
  });

  test("a flood is counted, not drawn: the memory of page and board stays flat, and then boxes are drawn again", async (t) => {
    const own = await redis(kinds[0]!);
    t.after(() => own.remove());
    const { e, page, client, board, context } = await open(t, own.url);
    const session = await context.newCDPSession(page);
    await session.send("Performance.enable");
    const pid = board.child.pid;
    const memory = async () => {
      await session.send("HeapProfiler.collectGarbage");
      const { metrics } = await session.send("Performance.getMetrics");
      const of = (name: string) => metrics.find((one) => one.name === name)!;
      const status = existsSync(`/proc/${pid}/status`)
        ? readFileSync(`/proc/${pid}/status`, "utf8")
        : ""; // on other systems the page's alone
      return {
        heap: of("JSHeapUsedSize").value / 1e6,
        nodes: of("Nodes").value,
        board: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1e3,
      };
    };
    let pushed = 0;
    const flood = async (count: number) => {
      for (const upTo = pushed + count; pushed < upTo;) {
        const some = Array.from({ length: 1000 }, () => `flood ${pushed++}`);
        await Promise.all(some.flatMap((text) => [
          client.lPush(e.QUEUE, text),
          client.publish(e.CHANNEL, text),
        ]));
      }
    };
    const told = sees(page, "#deaf", "Too many commands to show");
    await flood(20_000);
    await told;
    const before = await memory();
    await flood(soak(1_000_000));
    const many = `${pushed.toLocaleString("en")} messages wait`;
    await sees(page, "#length", many);
    const after = await memory();
    const said = `${JSON.stringify(before)} ${JSON.stringify(after)}`;
    assert.ok(after.heap < before.heap + 8, said); // MB
    assert.ok(after.nodes < before.nodes + 1000, said);
    assert.ok(after.board < before.board + 80, said); // MB
    assert.ok(await page.locator("#queue li").count() <= 50);
    // The flood is over.
    await until(
      "all is heard again",
      async () => await page.locator("#deaf").textContent() === "",
    );
    await client.publish(e.CHANNEL, "calm");
    await sees(page, "#channel", "calm");
  });

  test("a drain beside an open page takes at most twice the time", async (t) => {
    const own = await redis(kinds[0]!);
    t.after(() => own.remove());
    const { e, page, address, client } = await open(t, own.url);
    const consumer = script(t, "consumer.ts", [], e);
    await consumer.says("listen");
    const messages = Array.from({ length: soak(50_000) }, (_, i) => String(i));
    const best = { alone: Infinity, beside: Infinity }; // ms
    for (let round = 0; round < 5; round++) {
      for (const way of ["alone", "beside"] as const) {
        await page.goto(way === "alone" ? "about:blank" : address);
        if (way === "beside") await sees(page, "#takers", "1 consumer");
        const start = performance.now();
        await client.lPush(e.QUEUE, messages);
        await until("a drain", async () => await client.lLen(e.QUEUE) === 0);
        best[way] = Math.min(best[way], performance.now() - start);
      }
    }
    assert.ok(best.beside < 2 * best.alone, JSON.stringify(best));
  });

  test("with --host 0.0.0.0 it prints this machine's own addresses, and the board works there", async (t) => {
    const own = Object.values(networkInterfaces()).flatMap((some) => some ?? [])
      .filter(({ family, internal }) => family === "IPv4" && !internal);
    const e = { REDIS_URL: shared.url, ...names(), PORT: "0" };
    const board = script(t, "extras/board.ts", ["--host", "0.0.0.0"], e);
    await board.says("page at");
    const { port } = new URL(board.out.match(/page at (\S+)/)![1]!);
    for (const { address } of own) {
      await board.says(`others open http://${address}:${port}/\n`);
      const page = await (await browser.newContext({ locale: "en-US" }))
        .newPage();
      t.after(() => page.context().close());
      await page.goto(`http://${address}:${port}/`);
      await page.locator('.send[href="/prodcons"]').click();
      await sees(page, "#length", "wait");
    }
    const local = script(t, "extras/board.ts", [], e);
    await local.says("page at http://127.0.0.1:");
    assert.equal(local.lines.length, 1);
  });

  test("the keyboard sends, and the language's link is kept", async (t) => {
    const { e, page, client } = await open(t);
    await sees(page, "#length", "The queue is empty");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter"); // 中文
    await sees(page, "#length", "队列是空的");
    await page.reload();
    await sees(page, "#length", "队列是空的");
    assert.equal(await page.getAttribute("html", "lang"), "zh-CN");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await sees(page, "#length", "1 条消息在等");
    assert.equal(await client.lLen(e.QUEUE), 1);
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
