// Cluster client: what connect() takes instead of createClient when REDIS_URL
// is redis+cluster://user:password@a:7001,b:7002 (rediss+cluster: with TLS).
//
//   Redis:    Redis Cluster
//       https://redis.io/docs/latest/operate/oss_and_stack/management/scaling/
//   Run:      nothing to run here; config.ts loads it for such an address
//   Partner:  npx tsx extras/cluster.ts    a cluster on this machine
//   Delivery: no command is sent twice; a master's death costs some seconds.
//             `received by` counts the subscribers at one node only.
//
// A key belongs to one master, by a hash of its name; of a name with braces,
// only what is in them counts. The lists of one queue need that: {orders}.

import { EventEmitter } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { createCluster, ErrorReply, type RedisClientOptions } from "redis";
import { type Client, fail, watch } from "../config.ts";

/** As node-redis's createClient, for a cluster. */
export function createClient({ url, ...options }: RedisClientOptions): Client {
  // s? for TLS, then user:password@ or nothing, then the addresses.
  const [, tls, user, password, addresses] =
    /^redis(s?)\+cluster:\/\/(?:([^:@]*):?(.*)@)?([^@]*)/i.exec(url!)!;
  const rootNodes = addresses!.split(",").map((address) => {
    const isOne = URL.canParse(`redis://${address}`) && !address.includes("/");
    if (!isOne) fail(Error(`no host:port: ${address}`), "--redis-url");
    return { url: `redis${tls}://${address}` };
  });
  const cluster = createCluster({
    rootNodes,
    defaults: {
      ...options,
      username: user ? decodeURIComponent(user) : undefined,
      password: password ? decodeURIComponent(password) : undefined,
      // Who asks a frozen node for the map of the cluster waits no longer (ms).
      socket: { ...options.socket, tls: tls !== "", socketTimeout: 5000 },
    },
    RESP: 2,
    commandOptions: options.commandOptions,
    topologyRefreshOnReconnectionAttemptStrategy: 300, // ms until a new map
  });

  // `error` and `ready` are about all masters, and where we are subscribed.
  const events = new EventEmitter();
  const nodes = () =>
    [...cluster.masters, cluster.pubSubNode].flatMap((n) => n?.client ?? []);
  const isReady = () => cluster.isReady && nodes().every((n) => n.isReady);
  const watched = new WeakSet<object>();
  let isOpen = false;
  let said: unknown; // the addresses' last error; an answer tells more
  let giveUp = (_: unknown) => {};
  cluster.on("error", (err) => said = said instanceof ErrorReply ? said : err);
  cluster.on("node-connect", () => events.emit("connect"));
  cluster.on("node-ready", () => {
    // Each is watched by itself; node-redis replaces those that die.
    const fresh = nodes().filter((node) => !watched.has(node));
    fresh.forEach((node) => watched.add(node) && watch(node as Client));
    if (isReady()) events.emit("ready");
  });
  cluster.on("node-error", (err) => {
    if (cluster.isReady) events.emit("error", err);
    giveUp(err);
  });

  async function connect() {
    for (isOpen = true; isOpen; await sleep(300)) {
      said = undefined;
      // The map may name a master that is gone. node-redis would wait for it.
      const gone = new Promise((_, reject) => giveUp = reject);
      const connected = cluster.connect();
      try {
        await Promise.race([connected, gone]);
        if (cluster.masters.length > 0) return events.emit("ready");
        throw new ErrorReply("CLUSTERDOWN no master has slots");
      } catch (err) {
        cluster.destroy();
        await connected.catch(() => {}); // or two would be on their way
        events.emit("error", said ?? err);
      }
    }
  }

  const client: Client = Object.create(cluster, {
    isOpen: { get: () => isOpen },
    isReady: { get: isReady },
  });
  return Object.assign(client, {
    on: events.on.bind(events),
    once: events.once.bind(events),
    emit: events.emit.bind(events),
    connect,
    destroy() {
      isOpen = false;
      cluster.destroy();
    },
    ping: () => Promise.resolve("PONG"), // its nodes are asked
  });
}
