// Page: article 2's page with two links, one for each model. Each sends a random digit and leads back to the page.
//
//   Redis:    LPUSH task:prodcons:queue 7, PUBLISH task:pubsub:channel 7
//   Run:      npx tsx server.ts              then open the address that it prints; Ctrl-C ends it
//   Partner:  npx tsx consumer.ts and npx tsx subscriber.ts, each in a terminal of its own
//   Promise:  a click that leads back to the page was sent, once; one that answers 503 may have been sent or not.

import { createHash, randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  createServer,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import { isIP } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import {
  atQueue,
  cause,
  client,
  complain,
  print,
  refused,
  settings,
  stop,
} from "./config.ts";

const { REDIS_URL, QUEUE, ORDER, CHANNEL, HOST, PORT } = settings(
  import.meta.url,
  ["REDIS_URL", "QUEUE", "ORDER", "CHANNEL", "HOST", "PORT"],
);
const rcon = client(REDIS_URL, true, { commandsQueueMaxLength: 10_000 }); // not connect(): the page is there without Redis, too
const patiently = <T>(reply: Promise<T>) =>
  new Promise<T>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("no answer")), 700); // ms
    reply.then((value) => {
      clearTimeout(late);
      resolve(value);
    }, (err) => {
      clearTimeout(late);
      reject(err);
    }); // finally() is slower
  });

// Only what page.html holds may run on the page; what comes from Redis is text.
const html = readFileSync(new URL("page.html", import.meta.url), "utf8");
const hash = (tag: string) =>
  `'sha256-${
    createHash("sha256").update(
      html.split(`<${tag}>`)[1]!.split(`</${tag}>`)[0]!,
    ).digest("base64")
  }'`;
const headers = {
  "Content-Security-Policy": `default-src 'none'; script-src ${
    hash("script")
  }; style-src ${
    hash("style")
  }; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "same-origin",
  "Cache-Control": "no-store",
};
const escape = (text: string) =>
  text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

// 1. What the page shows, as it is in Redis now.
const sent: string[] = []; // the last messages that this page has published, newest first
const gone = (err: unknown) =>
  refused(err)
    ? {
      status: 500,
      note: `Redis 说 Redis says: ${escape(cause(err))}`,
      queue: "",
      channel: "",
    }
    : {
      status: 503,
      note:
        'Redis 现在没有回答，刚才的点击可能没有送出。本页会自己恢复。<span lang="en">Redis does not answer at the moment: a click may have been sent or not. This page comes back by itself.</span> <code>npx tsx extras/redis.ts</code>',
      queue: "",
      channel: "",
    };

async function look() {
  try {
    const [length, next, subscribers, clients] = await patiently(Promise.all([
      rcon.lLen(QUEUE),
      ORDER === "lifo"
        ? rcon.lRange(QUEUE, 0, 19)
        : rcon.lRange(QUEUE, -20, -1).then((list) => list.reverse()),
      rcon.pubSubNumSub([CHANNEL]),
      rcon.clientList({ TYPE: "NORMAL" }).catch(() => null), // a managed Redis may not allow it
    ]));
    const listening = Object.values(subscribers)[0];
    const consumers = clients?.filter(({ name }) =>
      name === atQueue(QUEUE).name
    );
    const waiting = consumers?.filter(({ flags }) => flags.includes("b"));
    const boxes = next.map((task) =>
      `<li>${
        escape(
          task.length > 40
            ? [...task.slice(0, 80)].slice(0, 40).join("") + "…"
            : task,
        )
      }</li>`
    );
    return {
      status: 200,
      note: "",
      queue: `<p><b>${length}</b> 条消息在等，<b>${
        consumers?.length ?? "?"
      }</b> 个消费者，<b>${waiting?.length ?? "?"}</b> 个空闲
<span lang="en"><b>${length}</b> ${
        length === 1 ? "message waits" : "messages wait"
      }, <b>${consumers?.length ?? "?"}</b> ${
        consumers?.length === 1 ? "consumer" : "consumers"
      }, <b>${waiting?.length ?? "?"}</b> waiting</span></p>
<ol aria-label="队列 queue">${boxes.join("")}</ol>
${length > 20 ? `<p>… 还有 ${length - 20} 条 and ${length - 20} more</p>` : ""}
${
        consumers?.length !== 0
          ? ""
          : `<p>还没有消费者，在另一个终端启动 <span lang="en">No consumer yet. In another terminal:</span> <code>npx tsx consumer.ts</code></p>`
      }`,
      channel: `<p><b>${listening}</b> 个订阅者在听
<span lang="en"><b>${listening}</b> ${
        listening === 1 ? "subscriber listens" : "subscribers listen"
      }</span></p>
<ul aria-label="最近发布 last published">${sent.join("")}</ul>
${
        listening
          ? ""
          : `<p>还没有订阅者，在另一个终端启动 <span lang="en">No subscriber yet. In another terminal:</span> <code>npx tsx subscriber.ts</code></p>`
      }`,
    };
  } catch (err) {
    return gone(err);
  }
}

// 2. Open pages hear of it: one look at Redis for all of them, and none when no page is open.
const pages = new Set<ServerResponse>();
let looking = false;
let last = "";
async function live(page: ServerResponse) {
  pages.add(
    page.writeHead(200, { ...headers, "Content-Type": "text/event-stream" }),
  );
  page.on("close", () => pages.delete(page)).on("drain", () => {
    last = "";
  });
  last = ""; // the new page has not heard anything yet
  if (looking) return;
  for (looking = true; pages.size;) {
    const before = performance.now();
    const state = JSON.stringify(await look());
    if (state !== last) {
      for (const page of pages) {
        if (!page.writableNeedDrain) page.write(`data: ${state}\n\n`);
      }
    }
    last = state;
    await sleep(Math.max(100, 5 * (performance.now() - before))); // ms; long messages take long to read
  }
  looking = false;
}

// 3. Who may send: a person on this page or at the address bar, not another site's page or a prefetch, not a foreign name for our address.
const byName = (host: string) =>
  host === HOST.toLowerCase() ||
  (/^(127\.|::1$|0\.0\.0\.0$|::$|localhost$)/.test(HOST) &&
    host === "localhost");
const addressed = ({ headers: { host = "" } }: IncomingMessage) => {
  const name = host.toLowerCase().replace(/:\d+$/, "").replace(
    /^\[(.*)\]$/,
    "$1",
  );
  return byName(name) || (/^(0\.0\.0\.0|::)$/.test(HOST) && isIP(name) > 0);
};
const byPerson = ({ headers: h }: IncomingMessage) =>
  /^(same-origin|none)$/.test(String(h["sec-fetch-site"] ?? "none")) &&
  !/prefetch|prerender|preview/i.test(
    `${h["sec-purpose"]} ${h.purpose} ${h["x-moz"]}`,
  ) &&
  (h.referer?.split("/")[2] ?? h.host) === h.host; // browsers send Sec-Fetch-Site only to https and localhost

// 4. What it answers.
const back = { ...headers, Location: "/", "Content-Length": 0 };
const refuse = (res: ServerResponse, status: number, why: string) =>
  void res.writeHead(status, {
    ...headers,
    ...(status === 405 && { Allow: "GET, HEAD" }),
    "Content-Type": "text/plain; charset=utf-8",
  }).end(why + "\n");
const show = (
  res: ServerResponse,
  { status, ...state }: Awaited<ReturnType<typeof look>>,
) =>
  void res.writeHead(status, {
    ...headers,
    "Content-Type": "text/html; charset=utf-8",
  })
    .end(
      html.replace(
        /<!--(note|queue|channel)-->/g,
        (_, part: keyof typeof state) => state[part],
      ),
    );

// 5. The page and its links, as in the article. The limits are node:http's own: 8 KB of headers, 5 s for a request to come in.
const server = createServer({
  maxHeaderSize: 8192,
  headersTimeout: 5000,
  requestTimeout: 5000,
  connectionsCheckingInterval: 1000,
}, async (req, res) => {
  const path = req.url?.split("?")[0];
  if (!addressed(req)) {
    return refuse(res, 403, "This page is not served under that name.");
  }
  if (req.method !== "GET" && req.method !== "HEAD") {
    return refuse(res, 405, "Only GET and HEAD.");
  }
  if (path === "/") return show(res, await look());
  if (!["/prodcons", "/producer", "/pubsub", "/live"].includes(path!)) {
    return refuse(res, 404, "There is only the page, at /");
  }
  if (!byPerson(req)) {
    return refuse(
      res,
      403,
      "Only a click on the page itself, or the address typed in, sends a message.",
    );
  }
  if (req.method === "HEAD") return void res.writeHead(302, back).end();
  if (path === "/live") return live(res);
  try {
    const elem = String(randomInt(10));
    if (path === "/pubsub") {
      const receivers = await patiently(rcon.publish(CHANNEL, elem));
      void print(`publish ${CHANNEL} -- ${elem} (received by ${receivers})`);
      sent.unshift(
        `<li><b>${elem}</b> → ${
          receivers
            ? `${receivers} 个收到 received`
            : "没人在听，消失了 nobody was listening: gone"
        }</li>`,
      );
      sent.splice(5);
    } else { // /prodcons, or /producer as article 1 calls it
      const length = await patiently(rcon.lPush(QUEUE, elem));
      void print(`lpush ${QUEUE} -- ${elem} (queue length ${length})`);
    }
    res.writeHead(302, back).end();
  } catch (err) {
    show(res, gone(err));
  }
});

server.on("error", (err) => {
  complain(
    `Cannot serve the page at ${HOST}:${PORT} (${
      cause(err)
    }). Is the port taken? Give another one with --port or PORT.`,
  );
  process.exit(1);
});
server.listen(PORT, HOST, () => {
  const { port } = server.address() as { port: number };
  void print(
    `page at http://${isIP(HOST) === 6 ? `[${HOST}]` : HOST}:${port}/`,
  );
});
stop.onabort = () => {
  for (const page of pages) page.end();
  pages.clear();
  server.close(() => process.exit()); // when the requests under way are answered
  setTimeout(() => process.exit(), 1200); // a client that does not take its answer
};
