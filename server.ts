// Page: article 2's page; each of its two links sends a random digit.
//
//   Redis:    LPUSH task:prodcons:queue 7, PUBLISH task:pubsub:channel 7
//   Run:      npx tsx server.ts        then open the address that it prints
//   Partner:  npx tsx consumer.ts and npx tsx subscriber.ts, in other terminals
//   Delivery: a click that leads back to the page was sent, once; one that is
//             answered by 503 may have been sent or not.

import { randomInt } from "node:crypto";
import http from "node:http";
import { type AddressInfo, isIP } from "node:net";
import { cause, complain, connect, leaveReplica } from "./config.ts";
import { print, settings } from "./config.ts";

const { REDIS_URL, QUEUE, CHANNEL, HOST, PORT } = settings(
  ["REDIS_URL", "QUEUE", "CHANNEL", "HOST", "PORT"],
);
const rcon = await connect(REDIS_URL, { wait: true });

// 首页。 The page.
const index = (res: http.ServerResponse) =>
  res.setHeader("Content-Type", "text/html; charset=utf-8").end(`<!doctype html>
<html lang="zh-CN"><title>Redis Message Queue</title>
<meta name="viewport" content="width=device-width">
<br>
<center><h3>Redis Message Queue</h3>
<br>
<a href="/prodcons">生产消费者模式</a>
<br>
<br>
<a href="/pubsub">发布订阅者模式</a>
</center>`);

// 生产者。 The producer.
async function prodcons(res: http.ServerResponse) {
  const elem = String(randomInt(10));
  const length = await rcon.lPush(QUEUE, elem);
  print("lpush", QUEUE, "--", elem, `(queue length ${length})`);
  res.writeHead(302, { Location: "/" }).end(); // redirect('/')
}

// 消息发布者。 The publisher.
async function pubsub(res: http.ServerResponse) {
  const elem = String(randomInt(10));
  const receivers = await rcon.publish(CHANNEL, elem);
  print("publish", CHANNEL, "--", elem, `(received by ${receivers})`);
  res.writeHead(302, { Location: "/" }).end(); // redirect('/')
}

/** What answers which path; extras/board.ts adds to it, and uses `server`. */
export const routes = new Map<string, (res: http.ServerResponse) => unknown>([
  ["/", index],
  ["/prodcons", prodcons],
  ["/producer", prodcons], // as article 1 calls it
  ["/pubsub", pubsub],
]);

/** Against DNS rebinding: only a Host that is an IP or our own name. */
function isOurs({ host = "" }: http.IncomingHttpHeaders) {
  // Without the port, and an IPv6 address without its brackets.
  const name = host.replace(/:\d+$/, "").replace(/[[\]]/g, "");
  return isIP(name) > 0 || ["localhost", HOST.toLowerCase()].includes(name);
}

/** Against CSRF: a click on our page; on this machine a typed URL or curl. */
function isWanted(headers: http.IncomingHttpHeaders) {
  const { host = "", origin, referer, "sec-fetch-site": site } = headers;
  // A browser may fetch ahead, before anybody clicks (x-moz: old Firefox).
  if (headers["sec-purpose"] || headers["x-moz"]) return false;
  // The page with the link has to be ours; an Origin has no / at its end.
  const page = origin ? `${origin}/` : referer;
  if (page && !page.startsWith(`http://${host}/`)) return false;
  // Browsers say where a click comes from, if it goes to this machine or https.
  if (site) return site === "same-origin" || site === "none"; // none: typed in
  // Else it is curl, or a browser that asks another machine: then a foreign
  // <img> looks like a typed address, so only our page will do.
  return Boolean(page) || /^(localhost|127\.|\[::1])/.test(host);
}

export const server = http.createServer(async (req, res) => {
  // In no frame, never from a cache, our Referer only to us, text by default.
  res.setHeader("Content-Security-Policy", "frame-ancestors 'none'");
  res.setHeader("Cache-Control", "no-store");
  res.setHeader("Referrer-Policy", "same-origin");
  res.setHeader("Content-Type", "text/plain; charset=utf-8");
  const answer = (status: number, text: string) =>
    res.writeHead(status).end(text);

  if (!isOurs(req.headers)) return answer(403, "Open it by its IP");
  const path = req.url?.split("?")[0] ?? "/";
  const action = routes.get(path);
  if (!action || req.method !== "GET") return answer(404, "The page is at /");
  if (path !== "/" && !isWanted(req.headers)) {
    return answer(403, "A message is sent by a click on the page, at /");
  }
  try {
    await action(res);
  } catch (err) {
    leaveReplica(err); // as retry() does for loops; but a click is not repeated
    answer(503, `是否送出不确定 It may be sent or not: ${cause(err)}`);
  }
});

server.on("error", (err) => {
  const where = `${HOST}:${PORT} (${cause(err)})`;
  complain(`Cannot serve at ${where}. Another --port or --host?`);
  process.exit(1);
});
// 启动。 app.run()
server.listen(PORT, HOST, () => {
  const { port } = server.address() as AddressInfo;
  print(`page at http://${isIP(HOST) === 6 ? `[${HOST}]` : HOST}:${port}/`);
});
