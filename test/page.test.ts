// The page of server.ts: over HTTP as a stranger would try it, and in a
// browser.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, createServer, request } from "node:http";
import { type AddressInfo, connect as dial } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test, type TestContext } from "node:test";
import { type Browser, chromium as engine } from "playwright-core";
import {
  atOnce,
  chromium,
  exec,
  flags,
  found,
  freePort,
  look,
  names,
  onEachRedis,
  type Redis,
  redis,
  script,
  soak,
  until,
} from "./tools.ts";

async function open(t: TestContext, url: string, args: string[] = []) {
  const e = { REDIS_URL: url, ...names(), PORT: "0" };
  const client = await look(t, url);
  const server = script(t, "server.ts", args, e);
  await server.says("page at");
  const port = Number(server.out.match(/:(\d+)\/\n/)![1]);
  const ask = (
    path: string,
    headers: Record<string, string> = {},
    { method = "GET", agent = undefined as Agent | undefined } = {},
  ) =>
    new Promise<
      { status: number; headers: NodeJS.Dict<string | string[]>; body: string }
    >((resolve, reject) => {
      const options = { port, path, method, headers, agent, host: "127.0.0.1" };
      request(options, (res) => {
        let body = "";
        res.setEncoding("utf8").on("data", (chunk) => body += chunk);
        res.on("end", () =>
          resolve({ status: res.statusCode!, headers: res.headers, body }));
      }).on("error", reject).end();
    });
  return { e, client, server, port, ask };
}

onEachRedis("page", (get: () => Redis, kind) => {
  test("each link sends one digit, logs it as its script does, and leads back to the page", async (t) => {
    const { e, client, server, ask } = await open(t, get().url);
    const page = await ask("/");
    assert.equal(page.status, 200);
    assert.match(String(page.headers["content-type"]), /^text\/html/);
    assert.deepEqual(
      [...page.body.matchAll(/<a href="(.*?)">(.*?)<\/a>/g)]
        .map(([, path, text]) => [path, text]),
      [["/prodcons", "生产消费者模式"], ["/pubsub", "发布订阅者模式"]],
    );
    for (const path of ["/prodcons", "/producer", "/pubsub"]) {
      const { status, headers } = await ask(path);
      assert.deepEqual([status, headers.location], [302, "/"]);
    }
    const digits = (await client.lRange(e.QUEUE, 0, -1)).reverse();
    assert.equal(digits.length, 2);
    await server.says("received by");
    const said = server.lines.slice(1);
    assert.deepEqual(
      said.slice(0, 2),
      digits.map((digit, i) =>
        `lpush ${e.QUEUE} -- ${digit} (queue length ${i + 1})`
      ),
    );
    assert.match(
      said[2]!,
      /^publish channel:[\d:]+ -- \d \(received by 0\)$/,
    );
    for (const digit of digits) assert.match(digit, /^\d$/);
  });

  test("only a GET sends; only the page and its links; HEAD on the page is answered", async (t) => {
    const { e, client, ask } = await open(t, get().url);
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"]) {
      const { status } = await ask("/prodcons", {}, { method });
      assert.equal(status, 403, method);
    }
    const { status, headers } = await ask("/", {}, { method: "HEAD" });
    assert.equal(status, 200);
    assert.match(String(headers["content-type"]), /^text\/html/);
    for (
      const path of ["/x", "/prodcons/", "//", "/../config.ts", "/__proto__"]
    ) {
      assert.equal((await ask(path)).status, 404, path);
    }
    assert.equal(await client.exists(e.QUEUE), 0);
  });

  test("HTTP/1.0 without Host, as health checks speak it, gets the page, and sends nothing", async (t) => {
    const { e, client, port } = await open(t, get().url);
    const statuses: string[] = [];
    for (const line of ["GET /", "HEAD /", "GET /prodcons"]) {
      const socket = dial(port, "127.0.0.1");
      let said = "";
      socket.setEncoding("utf8").on("data", (piece) => said += piece);
      socket.end(`${line} HTTP/1.0\r\n\r\n`);
      await new Promise((closed) => socket.on("close", closed));
      statuses.push(said.split("\r\n")[0]!);
    }
    const [page, head, click] = statuses;
    assert.deepEqual([page, head], ["HTTP/1.1 200 OK", "HTTP/1.1 200 OK"]);
    assert.equal(click, "HTTP/1.1 403 Forbidden");
    assert.equal(await client.exists(e.QUEUE), 0);
  });

  test("a request that another site, a prefetch or a foreign name makes gets 403 and sends nothing", async (t) => {
    const { e, client, ask, port } = await open(t, get().url);
    const strangers: Record<string, string>[] = [
      { "Sec-Fetch-Site": "cross-site" },
      { "Sec-Fetch-Site": "same-site" },
      { "Sec-Purpose": "prefetch;prerender", "Sec-Fetch-Site": "none" },
      { "Purpose": "prefetch" },
      { "X-Purpose": "preview" },
      { "X-Moz": "prefetch" },
      { "Sec-Fetch-Site": "cross-site", Referer: `http://127.0.0.1:${port}/` },
      { Referer: "about:blank" },
      { Referer: "http://evil.example/" },
      { Referer: `http://127.0.0.1:${port + 1}/` },
      { Origin: "http://evil.example" },
      { Origin: "null" },
      { Origin: `http://127.0.0.1:${port + 1}` },
      { Host: "evil.example" },
      { Host: `evil.example:${port}` },
      { Host: "127.0.0.1.evil.example" },
      // Not on this machine's own name: a browser does not say who asks.
      { Host: "192.168.0.1" },
      { Host: `192.168.0.1:${port}`, Referer: "http://192.168.0.2/" },
    ];
    for (const headers of strangers) {
      for (const path of ["/prodcons", "/producer", "/pubsub"]) {
        const { status } = await ask(path, headers);
        assert.equal(status, 403, JSON.stringify(headers));
      }
    }
    assert.equal((await ask("/", { Host: "evil.example" })).status, 403);
    assert.equal(await client.exists(e.QUEUE), 0);

    const home = `127.0.0.1:${port}`;
    const persons: Record<string, string>[] = [
      {},
      { "Sec-Fetch-Site": "none" },
      { "Sec-Fetch-Site": "same-origin", Referer: `http://${home}/` },
      { Host: `localhost:${port}` },
      { Host: `[::1]:${port}` },
      { Host: "192.168.0.1", Referer: "http://192.168.0.1/" },
      // As a browser behind a proxy with TLS, whose Host is ours.
      { Origin: "https://mq.example", "Sec-Fetch-Site": "same-origin" },
      { Origin: `https://${home}` },
    ];
    for (const headers of persons) {
      const all = { Host: home, ...headers };
      const { status } = await ask("/prodcons", all);
      assert.equal(status, 302, JSON.stringify(headers));
    }
    assert.equal(await client.lLen(e.QUEUE), persons.length);
  });

  test(
    `50 connections and ${
      soak(20_000, kind)
    } clicks: the queue is exactly as long as there were 302s`,
    {
      timeout: 120_000,
    },
    async (t) => {
      const { e, client, ask } = await open(t, get().url);
      const agent = new Agent({ keepAlive: true, maxSockets: 50 });
      t.after(() => agent.destroy());
      let left = soak(20_000, kind), sent = 0;
      await Promise.all(Array.from({ length: 50 }, async () => {
        while (left-- > 0) {
          if ((await ask("/prodcons", {}, { agent })).status === 302) sent++;
        }
      }));
      assert.equal(sent, soak(20_000, kind));
      assert.equal(await client.lLen(e.QUEUE), sent);
    },
  );
});

const missing = ["haproxy", "openssl"].filter((name) => !found(name)).join();

describe("page in a browser", {
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
  async function browse(t: TestContext) {
    const context = await browser.newContext();
    t.after(() => context.close());
    return await context.newPage();
  }

  test("both links clicked: each leads back, and consumer and subscriber print the digit", async (t) => {
    const { e, server, port } = await open(t, shared.url);
    const consumer = script(t, "consumer.ts", [], e);
    const subscriber = script(t, "subscriber.ts", [], e);
    await Promise.all([consumer.says("listen"), subscriber.says("listen")]);
    const page = await browse(t);
    for (const host of ["127.0.0.1", "localhost"]) {
      await page.goto(`http://${host}:${port}/`);
      for (const name of ["生产消费者模式", "发布订阅者模式"]) {
        await page.getByRole("link", { name }).click();
        await page.waitForURL(`http://${host}:${port}/`);
      }
      await page.goto(`http://${host}:${port}/prodcons`); // typed
      await page.goto(`http://${host}:${port}/`);
    }
    const said = (what: string) =>
      [...server.out.matchAll(new RegExp(`${what} \\S+ -- (\\d)`, "g"))]
        .map((found) => found[1]);
    assert.deepEqual([said("lpush").length, said("publish").length], [4, 2]);
    await until(
      "the digits",
      () => consumer.tasks.length === 4 && subscriber.tasks.length === 2,
    );
    assert.deepEqual(consumer.tasks, said("lpush"));
    assert.deepEqual(subscriber.tasks, said("publish"));
  });

  test(
    "behind a proxy with TLS, that rewrites Host or not, both links send, and its health check finds the page",
    {
      skip: missing !== "" && `needs ${missing} on the PATH`,
    },
    async (t) => {
      const { e, client, port } = await open(t, shared.url);
      const dir = mkdtempSync(join(tmpdir(), "redis-mq-"));
      t.after(() => rmSync(dir, { recursive: true, force: true }));
      const file = (name: string) => join(dir, name);
      const create = "req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost " +
        `-keyout key.pem -out cert.pem`;
      execFileSync("openssl", create.split(" "), { cwd: dir, stdio: "ignore" });
      const pem = ["cert.pem", "key.pem"].map((name) =>
        readFileSync(file(name))
      );
      writeFileSync(file("both.pem"), Buffer.concat(pem));
      const ports = [await freePort(), await freePort()];
      // One keeps the Host that the browser has sent, one puts its own.
      writeFileSync(
        file("proxy.cfg"),
        `defaults
         mode http
         timeout connect 5s
         timeout client 60s
         timeout server 60s
         timeout check 2s
       frontend kept
         bind 127.0.0.1:${ports[0]} ssl crt ${file("both.pem")}
         default_backend page
       frontend rewritten
         bind 127.0.0.1:${ports[1]} ssl crt ${file("both.pem")}
         http-request set-header Host 127.0.0.1:${port}
         default_backend page
       backend page
         option httpchk GET /
         server page 127.0.0.1:${port} check inter 200ms\n`,
      );
      const proxy = exec(t, "haproxy", ["-d", "-db", "-f", file("proxy.cfg")]);
      const context = await browser.newContext({ ignoreHTTPSErrors: true });
      t.after(() => context.close());
      const page = await context.newPage();
      for (const port of ports) {
        const address = `https://localhost:${port}/`;
        await until(
          "the proxy",
          () => page.goto(address).then((got) => got?.ok(), () => false),
        );
        for (const name of ["生产消费者模式", "发布订阅者模式"]) {
          await page.getByRole("link", { name }).click();
          await page.waitForURL(address);
        }
      }
      assert.equal(await client.lLen(e.QUEUE), 2);
      assert.doesNotMatch(proxy.err + proxy.out, /is DOWN/);
    },
  );

  // The address that others on the network see, where there is one.
  const lan = Object.values(networkInterfaces()).flat()
    .find((one) => one?.family === "IPv4" && !one.internal)?.address;
  for (const victim of ["127.0.0.1", "localhost", lan ?? "127.0.0.2"]) {
    test(`no other site's page sends to ${victim === lan ? "an address on the network" : victim}: image, frame, form, script, WebSocket, link, redirect`, async (t) => {
      const { e, client, port } = await open(t, shared.url, [
        "--host",
        "0.0.0.0",
      ]);
      const target = `http://${victim}:${port}`;
      // The stranger's own server: its page, and a redirect to ours.
      const stranger = createServer((req, res) => {
        if (req.url === "/redirect") {
          return void res.writeHead(302, { Location: `${target}/prodcons` })
            .end();
        }
        const silent = req.url?.includes("silent");
        res.setHeader("Content-Type", "text/html");
        if (silent) res.setHeader("Referrer-Policy", "no-referrer");
        res.end(`<!doctype html><title>stranger</title>
          <img src="${target}/prodcons"><img src="/redirect">
          <iframe src="${target}/prodcons"></iframe>
          <iframe src="/redirect"></iframe>
          <link rel="prefetch" href="${target}/prodcons">
          <link rel="stylesheet" href="${target}/pubsub">
          <form action="${target}/prodcons"></form>
          <a href="${target}/prodcons">click</a>
          <script>
            const tried = [
              fetch("${target}/prodcons", { mode: "no-cors" }),
              fetch("/redirect", { mode: "no-cors" }),
              new Promise((end) => {
                const socket = new WebSocket("ws://${victim}:${port}/prodcons");
                socket.onerror = socket.onclose = end;
              }),
            ];
            Promise.allSettled(tried).then(() => document.title = "tried");
          </script>`);
      }).listen(0, "127.0.0.1");
      t.after(() => stranger.closeAllConnections());
      t.after(() => stranger.close());
      await until("the stranger", () => stranger.listening);
      const { port: other } = stranger.address() as AddressInfo;
      const page = await browse(t);
      for (const path of ["/", "/silent"]) {
        const start = async () => {
          await page.goto(`http://127.0.0.1:${other}${path}`);
          await page.waitForFunction("document.title === 'tried'");
        };
        await start();
        await page.evaluate("document.forms[0].submit()");
        await page.waitForURL(`${target}/prodcons**`);
        await start();
        await page.getByRole("link").click();
        await page.waitForURL(`${target}/prodcons`);
        await start();
        await page.evaluate("location = '/redirect'");
        await page.waitForURL(`${target}/prodcons`);
      }
      assert.equal(await client.exists(e.QUEUE), 0);

      // And a person on the page itself can.
      await page.goto(`${target}/`);
      await page.getByRole("link").first().click();
      await page.waitForURL(`${target}/`);
      assert.equal(await client.lLen(e.QUEUE), 1);
    });
  }
});
