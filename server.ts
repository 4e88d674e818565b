// Page: article 2's page; its links send a digit. 网页：点链接，发送随机数。
//
//   Redis:    LPUSH task:prodcons:queue 7, PUBLISH task:pubsub:channel 7
//   Run:      npx tsx server.ts        then open the address that it prints
//   Partner:  npx tsx consumer.ts and npx tsx subscriber.ts, in other terminals
//   Delivery: a click that brings the page back has sent its digit (twice, if
//             the browser lost the answer and asked again). After a 503, maybe.

import { randomInt } from "node:crypto";
import http from "node:http";
import { type AddressInfo, isIP } from "node:net";
import * as mq from "./config.ts";

const { REDIS_URL, QUEUE, CHANNEL, MQ_HOST, PORT } = mq;
const config = mq.settings({ REDIS_URL, QUEUE, CHANNEL, MQ_HOST, PORT });
const host = config.MQ_HOST.toLowerCase(); // as browsers send it, in Host
mq.stopGently().onabort = () => process.exit(); // as in subscriber.ts
const rcon = await mq.connect(config.REDIS_URL, { wait: true });

// 首页。 The page.
const index = (res: http.ServerResponse) =>
  res.setHeader("Content-Type", "text/html; charset=utf-8").end(`<!doctype html>
<html lang="zh-CN"><title>Redis Message Queue</title>
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
  const elem = `${randomInt(10)}`;
  const length = await rcon.lPush(config.QUEUE, elem);
  mq.print("lpush", config.QUEUE, "--", elem, `(queue length ${length})`);
  res.writeHead(302, { Location: "/" }).end(); // redirect('/')
}

// 消息发布者。 The publisher.
async function pubsub(res: http.ServerResponse) {
  const elem = `${randomInt(10)}`;
  const receivers = await rcon.publish(config.CHANNEL, elem);
  mq.print("publish", config.CHANNEL, "--", elem, `(received by ${receivers})`);
  res.writeHead(302, { Location: "/" }).end(); // redirect('/')
}

/** Each path's function. extras/board.ts adds to it, and uses `server`. */
export const routes = new Map<string, (res: http.ServerResponse) => unknown>([
  ["/", index],
  ["/prodcons", prodcons],
  ["/producer", prodcons], // as article 1 calls it
  ["/pubsub", pubsub],
]);

/** Whether to send. Any page on the web can make a browser fetch our links; so
 * only a GET counts, and by a click on our page, an address typed, or curl. */
function isWanted({ method, headers }: http.IncomingMessage) {
  const { origin, referer, "sec-fetch-site": site } = headers;
  // Browsers fetch some links ahead, unclicked, and say so in one of these.
  const ahead = ["sec-purpose", "purpose", "x-purpose", "x-moz"];
  if (method !== "GET" || ahead.some((name) => headers[name])) return false;
  // Sec-Fetch-Site comes over https and to localhost. "none": a typed address.
  if (site) return site === "same-origin" || site === "none";
  // Else Referer names the page; or Origin, if a page opens a WebSocket: a GET.
  const from = referer ?? origin;
  if (from) return URL.canParse(from) && new URL(from).host === headers.host;
  // Neither: at localhost it is curl; elsewhere, maybe a foreign page's <img>.
  return /^(localhost|127[\d.]*|\[::1])(:\d+)?$/.test(headers.host ?? "");
}

export const server = http.createServer(async (req, res) => {
  // No foreign page may show ours in a frame, and have people click there.
  res.setHeader("Content-Security-Policy", "frame-ancestors 'none'");
  res.setHeader("Content-Type", "text/plain; charset=utf-8");
  const answer = (code: number, text: string) => res.writeHead(code).end(text);
  // A foreign name can lead here (DNS rebinding); Host says so. An IP is fine;
  // so is no Host: no browser. `name` is Host without :3000 and [ ].
  const name = req.headers.host?.replace(/:\d+$|[[\]]/g, "") ?? "localhost";
  const isOurs = ["localhost", host].includes(name);
  if (!isOurs && !isIP(name)) return answer(403, "Open it by its IP");
  const path = req.url?.split("?")[0] ?? "/";
  const action = routes.get(path);
  if (!action) return answer(404, "The page is at /");
  if (path !== "/" && !isWanted(req)) return answer(403, "Click on the page");
  try {
    await action(res);
  } catch (err) {
    // Another Redis took over, ours is a mere copy: connect anew, to the other.
    if (/^READONLY/.test(mq.cause(err))) mq.renew(rcon, err);
    answer(503, `是否送出不确定 It may be sent or not: ${mq.cause(err)}`);
  }
});
server.on("error", (e) => mq.fail(e, `--host ${host} --port ${config.PORT}`));
// 启动。 app.run()
server.listen(config.PORT, host, () => {
  const { port } = server.address() as AddressInfo;
  mq.print(`page at http://${isIP(host) === 6 ? `[${host}]` : host}:${port}/`);
});
