// Page: article 2's page; each of its two links sends a random digit.
//
//   Redis:    LPUSH task:prodcons:queue 7, PUBLISH task:pubsub:channel 7
//   Run:      npx tsx server.ts        then open the address that it prints
//   Partner:  npx tsx consumer.ts and npx tsx subscriber.ts, in other terminals
//   Promise:  a click that leads back to the page was sent, once; one that is
//             answered by an error may have been sent or not.

import { randomInt } from "node:crypto";
import http from "node:http";
import { type AddressInfo, isIP } from "node:net";
import { cause, complain, connect, newMaster } from "./config.ts";
import { print, settings } from "./config.ts";

const { REDIS_URL, QUEUE, CHANNEL, HOST, PORT } = settings(
  ["REDIS_URL", "QUEUE", "CHANNEL", "HOST", "PORT"],
);
const rcon = await connect(REDIS_URL, { wait: true });

// 首页 The page.
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

// 生产者 The producer.
async function prodcons(res: http.ServerResponse) {
  const elem = String(randomInt(10));
  const length = await rcon.lPush(QUEUE, elem);
  print("lpush", QUEUE, "--", elem, `(queue length ${length})`);
  redirect(res);
}

// 消息发布者 The publisher.
async function pubsub(res: http.ServerResponse) {
  const elem = String(randomInt(10));
  const receivers = await rcon.publish(CHANNEL, elem);
  print("publish", CHANNEL, "--", elem, `(received by ${receivers})`);
  redirect(res);
}
const redirect = (res: http.ServerResponse) =>
  res.writeHead(302, { Location: "/" }).end();

/** What answers which path. */
export const routes = new Map<string, (res: http.ServerResponse) => unknown>([
  ["/", index],
  ["/prodcons", prodcons],
  ["/producer", prodcons], // as article 1 calls it
  ["/pubsub", pubsub],
]);

/** The page's own host: an address can't be another's, a name could be. */
function isOurs(host: string) {
  const name = host.replace(/:\d+$/, "").replace(/[[\]]/g, ""); // without port
  return isIP(name) > 0 || name === "localhost" || name === HOST;
}

/** Whether a person asks, by a click on our page or by typing the address. */
function isPerson(headers: http.IncomingHttpHeaders) {
  const { host = "", origin, referer, "sec-fetch-site": site } = headers;
  // Another page's form, script or WebSocket says where it comes from.
  if (origin && origin !== `http://${host}`) return false;
  if (referer && !referer.startsWith(`http://${host}/`)) return false;
  // Before anybody clicks, a browser may fetch ahead.
  if (headers["sec-purpose"] || headers["x-moz"]) return false;
  if (site) return ["same-origin", "none"].includes(site); // none: typed in
  // Browsers say the site only to localhost. Elsewhere any site's picture may
  // ask without a word of it, so there it takes a click on our page.
  return referer !== undefined || /^(localhost|127\.|\[::1])/.test(host);
}

const server = http.createServer(async (req, res) => {
  res.setHeader("Content-Security-Policy", "frame-ancestors 'none'");
  res.setHeader("Cache-Control", "no-store");
  res.setHeader("Referrer-Policy", "same-origin");
  res.setHeader("Content-Type", "text/plain; charset=utf-8");
  const answer = (status: number, text: string) =>
    res.writeHead(status).end(text);

  const path = req.url?.split("?")[0] ?? "/";
  const action = routes.get(path);
  if (!isOurs(req.headers.host ?? "")) return answer(403, "Not by that name.");
  if (!action || req.method !== "GET") return answer(404, "The page is at /");
  if (path !== "/" && !isPerson(req.headers)) {
    return answer(403, "A message is sent by a click on the page, at /");
  }
  try {
    await action(res);
  } catch (err) {
    newMaster(err);
    answer(503, `也许没有送出 It may be sent or not: ${cause(err)}`);
  }
});

server.on("error", (err) => {
  complain(`Cannot serve at ${HOST}:${PORT} (${cause(err)}). Try --port 0`);
  process.exit(1);
});
server.listen(PORT, HOST, () => {
  const { port } = server.address() as AddressInfo;
  print(`page at http://${isIP(HOST) === 6 ? `[${HOST}]` : HOST}:${port}/`);
});
