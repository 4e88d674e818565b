// Page: article 2's page; its links send a digit. 网页：点链接，发送随机数。
//
//   Redis:    LPUSH task:prodcons:queue 7, PUBLISH task:pubsub:channel 7
//   Run:      npx tsx server.ts        then open the address that it prints
//   Partner:  npx tsx consumer.ts and npx tsx subscriber.ts, in other terminals
//   Delivery: a click that leads back here has sent its digit; twice, if the
//             browser had to ask again. One that ends in a 503 may have, too.

import { randomInt } from "node:crypto";
import http from "node:http";
import { type AddressInfo, isIP } from "node:net";
import * as mq from "./config.ts";

const { REDIS_URL, QUEUE, CHANNEL, MQ_HOST, PORT } = mq;
const config = mq.settings({ REDIS_URL, QUEUE, CHANNEL, MQ_HOST, PORT });
const home = config.MQ_HOST;
mq.stopGently().onabort = () => process.exit(); // process 1 (Docker) needs it
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
 * only a click on our page counts, a typed address, or curl on this machine. */
function isWanted({ method, headers }: http.IncomingMessage) {
  const { host = "", origin, referer, "sec-fetch-site": site } = headers;
  // Browsers fetch links ahead, unclicked; then they send one of these headers.
  const ahead = ["sec-purpose", "purpose", "x-purpose", "x-moz"];
  if (method !== "GET" || ahead.some((name) => headers[name])) return false;
  // On this machine, or over https, they say where a click was; none: typed.
  if (site) return site === "same-origin" || site === "none";
  // Elsewhere they name the page, in Referer (in Origin, for a WebSocket's GET).
  const from = origin ?? referer;
  if (from) return URL.canParse(from) && new URL(from).host === host;
  // Neither: curl, on this machine; from elsewhere, perhaps a foreign <img>.
  return /^(localhost|127\.|\[::1])/.test(host);
}

export const server = http.createServer(async (req, res) => {
  // No foreign page may show ours in a frame, and have people click there.
  res.setHeader("Content-Security-Policy", "frame-ancestors 'none'");
  res.setHeader("Content-Type", "text/plain; charset=utf-8");
  const answer = (code: number, text: string) => res.writeHead(code).end(text);
  // A foreign page's name can be made to lead here, so that its clicks look like
  // ours (DNS rebinding); an IP cannot. This is Host, without :3000 and [ ].
  const name = req.headers.host?.replace(/:\d+$|[[\]]/g, "") ?? "localhost";
  const isOurs = ["localhost", home.toLowerCase()].includes(name);
  if (!isOurs && !isIP(name)) return answer(403, "Open it by its IP");
  const path = req.url?.split("?")[0] ?? "/";
  const action = routes.get(path);
  if (!action) return answer(404, "The page is at /");
  if (path !== "/" && !isWanted(req)) return answer(403, "Click on the page");
  try {
    await action(res);
  } catch (err) {
    // After a failover this is a copy of the new master: as in recover().
    if (mq.cause(err).startsWith("READONLY")) mq.renew(rcon, err);
    answer(503, `是否送出不确定 It may be sent or not: ${mq.cause(err)}`);
  }
});
server.on("error", (e) => mq.fail(e, `--host ${home} --port ${config.PORT}`));
// 启动。 app.run()
server.listen(config.PORT, home, () => {
  const { port } = server.address() as AddressInfo;
  mq.print(`page at http://${isIP(home) === 6 ? `[${home}]` : home}:${port}/`);
});
