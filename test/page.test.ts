// The page: over HTTP as a stranger would try it, and in a real browser as a learner sees it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { createRequire } from "node:module";
import { connect as dial } from "node:net";
import { after, before, describe, test, type TestContext } from "node:test";
import { type Browser, chromium as engine, type Page } from "playwright-core";
import {
  atOnce,
  chromium,
  look,
  names,
  noRedisServer,
  onEachRedis,
  type Redis,
  redis,
  script,
  soak,
  until,
} from "./tools.ts";

async function open(t: TestContext, url: string, args: string[] = []) {
  const e = { REDIS_URL: url, ...names(), PORT: "0" },
    client = await look(t, url.replace(/managed:pw@/, ""));
  const server = script(t, "server.ts", args, e);
  await server.says("page at");
  const port = Number(server.out.match(/:(\d+)\/\n/)![1]);
  const address = `http://127.0.0.1:${port}/`;
  await until("Redis", async () => (await fetch(address)).status === 200);
  const ask = (
    path: string,
    headers: Record<string, string> = {},
    method = "GET",
    agent?: Agent,
  ) =>
    new Promise<
      { status: number; headers: NodeJS.Dict<string | string[]>; body: string }
    >((resolve, reject) => {
      request(
        { port, path, method, headers, agent, host: "127.0.0.1" },
        (res) => {
          let body = "";
          res.setEncoding("utf8").on("data", (chunk) => {
            body += chunk;
          }).on("end", () =>
            resolve({ status: res.statusCode!, headers: res.headers, body }));
        },
      ).on("error", reject).end();
    });
  return { e, client, server, port, address, ask };
}

onEachRedis("page", (get: () => Redis, kind) => {
  test("each link sends one digit, logs it as its script does, and leads back to the page", async (t) => {
    const { e, client, server, ask } = await open(t, get().url);
    for (const path of ["/prodcons", "/producer"]) {
      assert.deepEqual([
        (await ask(path)).status,
        (await ask(path)).headers.location,
      ], [302, "/"]);
    }
    assert.equal((await ask("/pubsub")).status, 302);
    const digits = await client.lRange(e.QUEUE, 0, -1);
    await server.says("received by 0");
    assert.deepEqual(
      server.lines.slice(1, 5),
      digits.reverse().map((digit, i) =>
        `lpush ${e.QUEUE} -- ${digit} (queue length ${i + 1})`
      ),
    );
    assert.match(
      server.lines[5]!,
      /^publish channel:[\d:]+ -- \d \(received by 0\)$/,
    );
    for (const digit of digits) assert.match(digit, /^\d$/);
  });

  test("only GET and HEAD, only the page and its links; a HEAD sends nothing", async (t) => {
    const { e, client, ask } = await open(t, get().url);
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"]) {
      const { status, headers } = await ask("/prodcons", {}, method);
      assert.deepEqual([status, headers.allow], [405, "GET, HEAD"]);
    }
    for (const path of ["/", "/prodcons", "/pubsub", "/live"]) {
      assert.ok((await ask(path, {}, "HEAD")).status < 400, path);
    }
    for (
      const path of [
        "/x",
        "/prodcons/",
        "//",
        "/page.html",
        "/../config.ts",
        "/favicon.ico",
      ]
    ) assert.equal((await ask(path)).status, 404, path);
    assert.equal(await client.exists(e.QUEUE), 0);
  });

  test("a request that another site, a prefetch or a foreign name makes gets 403 and sends nothing", async (t) => {
    const { e, client, ask, port } = await open(t, get().url);
    const strangers: Record<string, string>[] = [
      { "Sec-Fetch-Site": "cross-site" },
      { "Sec-Fetch-Site": "same-site" },
      { "Sec-Purpose": "prefetch;prerender" },
      { Purpose: "Prefetch" },
      { "X-Moz": "prefetch" },
      { Referer: "http://evil.example/" },
      { Referer: `http://127.0.0.1:${port + 1}/` },
      { Host: "evil.example" },
      { Host: `evil.example:${port}` },
      { Host: "192.168.0.1" },
      { Host: "127.0.0.1.evil.example" },
    ];
    for (const headers of strangers) {
      for (const path of ["/prodcons", "/producer", "/pubsub"]) {
        assert.equal(
          (await ask(path, headers)).status,
          403,
          JSON.stringify(headers),
        );
      }
    }
    assert.equal((await ask("/", { Host: "evil.example" })).status, 403);
    assert.equal(await client.exists(e.QUEUE), 0);
    const persons: Record<string, string>[] = [
      {},
      { "Sec-Fetch-Site": "none" },
      {
        "Sec-Fetch-Site": "same-origin",
        Host: `127.0.0.1:${port}`,
        Referer: `http://127.0.0.1:${port}/`,
      },
      { Host: `localhost:${port}` },
      { Host: `127.0.0.1:${port}` },
    ];
    for (const headers of persons) {
      assert.equal(
        (await ask("/prodcons", headers)).status,
        302,
        JSON.stringify(headers),
      );
    }
    assert.equal(await client.lLen(e.QUEUE), persons.length);
  });

  test("with --host 0.0.0.0, for a class, any IP address is fine and a foreign name is not", async (t) => {
    const { ask } = await open(t, get().url, ["--host", "0.0.0.0"]);
    for (
      const host of [
        "192.168.1.7:3000",
        "10.0.0.1",
        "[fe80::1]:3000",
        "localhost:3000",
      ]
    ) assert.equal((await ask("/", { Host: host })).status, 200, host);
    for (const host of ["evil.example", "1.2.3.4.evil.example:3000"]) {
      assert.equal((await ask("/", { Host: host })).status, 403, host);
    }
  });

  test(
    "every answer forbids foreign code, sniffing and storing; header sizes and slow requests are bounded",
    { timeout: 30_000 },
    async (t) => {
      const { ask, port } = await open(t, get().url);
      for (const path of ["/", "/prodcons", "/x"]) {
        const { headers } = await ask(path);
        assert.match(
          String(headers["content-security-policy"]),
          /^default-src 'none'; script-src 'sha256-\S+'; style-src 'sha256-\S+'; connect-src 'self'/,
        );
        assert.deepEqual([
          headers["x-content-type-options"],
          headers["cache-control"],
        ], ["nosniff", "no-store"]);
      }
      assert.equal((await ask("/", { Long: "x".repeat(9000) })).status, 431);
      const slow = dial(port, "127.0.0.1"); // a request whose headers never end
      t.after(() => slow.destroy());
      slow.write("GET / HTTP/1.1\r\nHost: localhost\r\n");
      let answer = "";
      slow.setEncoding("utf8").on("data", (chunk) => {
        answer += chunk;
      });
      await new Promise((resolve) => slow.on("close", resolve));
      assert.match(answer, /^HTTP\/1\.1 408 /);
    },
  );

  test(
    `200 connections and ${
      soak(20_000, kind)
    } clicks: the queue is exactly as long as there were 302s`,
    { timeout: 120_000 },
    async (t) => {
      const { e, client, ask } = await open(t, get().url);
      const agent = new Agent({ keepAlive: true, maxSockets: 200 });
      t.after(() => agent.destroy());
      let left = soak(20_000, kind), sent = 0;
      await Promise.all(Array.from({ length: 200 }, async () => {
        while (left-- > 0) {
          if ((await ask("/prodcons", {}, "GET", agent)).status === 302) sent++;
        }
      }));
      assert.ok(sent > 0);
      assert.equal(await client.lLen(e.QUEUE), sent);
    },
  );

  test("open pages share one poll of Redis, and none runs when no page is open", async (t) => {
    const { client, address } = await open(t, get().url);
    const polls = async () =>
      Number(
        (await client.info("commandstats")).match(/cmdstat_llen:calls=(\d+)/)
          ?.[1] ?? 0,
      );
    const perPages = async (count: number) => {
      const streams = await Promise.all(
        Array.from({ length: count }, () => fetch(address + "live")),
      );
      const readers = streams.map((stream) => stream.body!.getReader());
      await Promise.all(readers.map((reader) => reader.read()));
      const from = await polls(), start = performance.now();
      await until("some polls", async () => await polls() > from + 10);
      const rate = (await polls() - from) / (performance.now() - start);
      await Promise.all(readers.map((reader) => reader.cancel()));
      return rate;
    };
    const one = await perPages(1), twenty = await perPages(20);
    assert.ok(twenty < one * 3, `${one} and ${twenty} polls a ms`); // twenty polls would be twenty times as many
    await until("the polls to stop", async () => {
      const before = await polls();
      await new Promise((resolve) => setTimeout(resolve, 400));
      return await polls() === before;
    });
  });
});

test(
  "the page works where Redis does not allow CLIENT LIST, and counts no consumers then",
  { skip: noRedisServer },
  async (t) => {
    const own = await redis("redis-server");
    t.after(() => own.remove());
    const client = await look(t, own.url);
    await client.sendCommand([
      "ACL",
      "SETUSER",
      "managed",
      "on",
      ">pw",
      "~*",
      "&*",
      "+@all",
      "-@dangerous",
      "-@admin",
    ]);
    const { ask } = await open(t, own.url.replace("//", "//managed:pw@"));
    await ask("/prodcons");
    const { status, body } = await ask("/");
    assert.equal(status, 200);
    assert.match(body, /<b>1<\/b> message waits, <b>\?<\/b> consumers/);
  },
);

describe("page in a browser", {
  skip: chromium ? false : "needs Chromium on the PATH",
  concurrency: atOnce,
}, () => {
  let browser: Browser, shared: Redis;
  const flags =
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
      .split(" ");
  before(async () => {
    shared = await redis("embedded server");
    browser = await engine.launch({ executablePath: chromium, args: flags });
  });
  after(async () => {
    await browser.close();
    await shared.remove();
  });
  async function browse(
    t: TestContext,
    options: Parameters<Browser["newContext"]>[0] = {},
  ) {
    const context = await browser.newContext(options), problems: string[] = [];
    t.after(() => context.close());
    context.on("weberror", (err) => problems.push(String(err.error())));
    context.on("console", (message) => {
      if (message.type() === "error" && !/503|favicon/.test(message.text())) {
        problems.push(message.text());
      }
    });
    return { context, page: await context.newPage(), problems };
  }
  const boxes = (page: Page) =>
    page.locator("#queue li:not(.taken)").allTextContents();
  const seen = (page: Page, what: string, text: string | RegExp) =>
    page.locator(what).getByText(text).first().waitFor({ timeout: 30_000 });

  test("both links clicked: the drawing changes as it happens, and consumer and subscriber print the digit", async (t) => {
    const { e, address, server } = await open(t, shared.url);
    const { page, problems } = await browse(t);
    await page.addInitScript({
      content: `left = 0; new MutationObserver((all) => {
      left += all.flatMap((one) => [...one.addedNodes]).filter((node) => node.className === "taken").length;
    }).observe(document, { childList: true, subtree: true });`,
    });
    await page.goto(address);
    await seen(page, "#queue", "npx tsx consumer.ts");
    await seen(page, "#channel", "npx tsx subscriber.ts");
    for (const count of [1, 2, 3]) {
      await page.getByRole("link", {
        name: "生产消费者模式 Producer / consumer",
      }).click();
      await until(
        `${count} boxes`,
        async () => (await boxes(page)).length === count,
      );
      assert.equal(new URL(page.url()).pathname, "/");
    }
    const drawn = await boxes(page);
    assert.deepEqual(
      drawn.map(String),
      [...server.out.matchAll(/lpush \S+ -- (\d)/g)].map((found) => found[1])
        .reverse(),
    );
    await page.getByRole("link", {
      name: "发布订阅者模式 Publisher / subscriber",
    }).click();
    await seen(page, "#channel", "nobody was listening: gone");

    const consumer = script(t, "consumer.ts", ["--work-ms", "1000"], e);
    await seen(page, "#queue", "1 consumer");
    await until("a box that leaves", () => page.evaluate("left > 0")); // a consumer takes it away before your eyes
    await until("no box", async () => (await boxes(page)).length === 0);
    await until("the digits", () => consumer.tasks.length === 3);
    assert.deepEqual(consumer.tasks, drawn);

    const two = [1, 2].map(() => script(t, "subscriber.ts", [], e));
    await seen(page, "#channel", "2 subscribers listen");
    await page.getByRole("link", { name: "发布订阅者模式" }).click();
    await seen(page, "#channel", "2 个收到 received");
    const digit = server.out.match(/publish \S+ -- (\d) \(received by 2\)/)![1];
    for (const subscriber of two) {
      await subscriber.says("Task get");
      assert.deepEqual(subscriber.tasks, [digit]);
    }
    assert.equal(await page.locator("#queue code, #channel code").count(), 0);
    assert.deepEqual(problems, []);
  });

  test("a backlog of 500 is drawn as 20 boxes in the order in which they will be taken, and a hostile message as text", async (t) => {
    const { e, client, address, server } = await open(t, shared.url);
    const { page, problems } = await browse(t);
    await client.lPush(e.QUEUE, Array.from({ length: 499 }, (_, i) => `m${i}`));
    const evil = "<img src=x onerror=document.title='evil'>";
    await client.lPush(e.QUEUE, evil);
    await page.goto(address);
    await seen(page, "#queue", "and 480 more");
    assert.deepEqual(await boxes(page), [
      evil.slice(0, 40) + "…",
      ...Array.from({ length: 19 }, (_, i) => `m${498 - i}`),
    ]);
    assert.equal(await page.title(), "Redis Message Queue");
    assert.equal(await page.locator("#queue img").count(), 0);
    await client.lPush(e.QUEUE, evil.slice(0, 30)); // and live
    await until(
      "the new box",
      async () => (await boxes(page))[0] === evil.slice(0, 30),
    );
    assert.equal(await page.locator("#queue img").count(), 0);
    assert.deepEqual(problems, []);
    const fifo = script(t, "server.ts", ["--order", "fifo"], {
      ...e,
      PORT: "0",
    });
    await fifo.says("page at");
    await until(
      "Redis",
      async () =>
        (await page.goto(fifo.out.match(/http:\S+/)![0]))!.status() === 200,
    );
    assert.deepEqual((await boxes(page)).slice(0, 3), ["m0", "m1", "m2"]);
    assert.ok(server.child.exitCode === null);
  });

  test("a change shows within 300 ms at the median", async (t) => {
    const { e, client, address } = await open(t, shared.url);
    const { page } = await browse(t);
    await page.goto(address);
    await seen(page, "#queue", "0 messages wait");
    const took: number[] = [];
    for (let i = 1; i <= 19; i++) {
      const shown = page.locator("#queue li:not(.taken)").nth(i - 1).waitFor();
      const before = performance.now();
      await client.lPush(e.QUEUE, String(i));
      await shown;
      took.push(performance.now() - before);
    }
    took.sort((a, b) => a - b);
    t.diagnostic(`${Math.round(took[9]!)} ms at the median`);
    assert.ok(took[9]! < 300, took.map(Math.round).join(" "));
  });

  test("twenty pages of one browser are open, live, and one poll", async (t) => {
    const { e, client, address } = await open(t, shared.url);
    const { context, page } = await browse(t);
    const pages = [
      page,
      ...await Promise.all(Array.from({ length: 19 }, () => context.newPage())),
    ];
    for (const one of pages) await one.goto(address);
    await client.lPush(e.QUEUE, "7");
    for (const one of pages) {
      await until("the box", async () => (await boxes(one)).join() === "7");
    }
    await page.close(); // the one that listened for all
    await client.lPush(e.QUEUE, "8");
    for (const one of pages.slice(1)) {
      await until("the box", async () => (await boxes(one)).join() === "8,7");
    }
    await pages[5]!.getByRole("link", { name: "生产消费者模式" }).click();
    await until("the click", async () => await client.lLen(e.QUEUE) === 3);
  });

  test("Redis stopped and started: the page says so in words and comes back by itself", async (t) => {
    const own = await redis("embedded server");
    t.after(() => own.remove());
    const { address } = await open(t, own.url);
    const { page } = await browse(t);
    await page.goto(address);
    await own.stop();
    await seen(page, "#note", "Redis does not answer at the moment");
    await page.getByRole("link", { name: "生产消费者模式" }).click();
    await seen(page, "#note", "Redis does not answer at the moment");
    await own.start();
    await seen(page, "#queue", "0 messages wait");
    assert.equal(await page.locator("#note").textContent(), "");
  });

  test("without JavaScript the same state is there after each click", async (t) => {
    const { e, client, address } = await open(t, shared.url);
    const { page } = await browse(t, { javaScriptEnabled: false });
    await page.goto(address);
    await page.getByRole("link", { name: "生产消费者模式" }).click();
    const digit = await until("the click", () => client.lIndex(e.QUEUE, 0));
    await until("its box", async () => (await boxes(page)).join() === digit);
    await page.getByRole("link", { name: "发布订阅者模式" }).click();
    await seen(page, "#channel", "nobody was listening: gone");
  });

  for (const colorScheme of ["light", "dark"] as const) {
    test(`at 320 px nothing scrolls sideways, and axe-core finds no violation, ${colorScheme}`, async (t) => {
      const { e, client, address } = await open(t, shared.url);
      const { page } = await browse(t, {
        colorScheme,
        viewport: { width: 320, height: 700 },
        bypassCSP: true,
      });
      await client.lPush(e.QUEUE, [
        ...Array.from({ length: 30 }, (_, i) => String(i)),
        "w".repeat(500),
        "一条很长的中文消息".repeat(10),
      ]);
      for (const path of ["", "pubsub"]) {
        await page.goto(address + path);
        assert.equal(
          await page.evaluate("document.documentElement.scrollWidth"),
          320,
        );
        await page.addScriptTag({
          content: readFileSync(
            createRequire(import.meta.url).resolve("axe-core/axe.min.js"),
            "utf8",
          ),
        });
        const { violations, passes } = await page.evaluate("axe.run()") as {
          violations: { id: string; nodes: unknown[] }[];
          passes: unknown[];
        };
        assert.deepEqual(
          violations.map(({ id, nodes }) => [id, nodes.length]),
          [],
        );
        assert.ok(passes.length > 10);
      }
    });
  }
});
