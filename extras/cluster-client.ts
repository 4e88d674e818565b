// Cluster client: what connect() takes instead of createClient when REDIS_URL
// is redis+cluster://user:password@a:7001,b:7002 (rediss+cluster: with TLS).
//
//   Redis:    Redis Cluster
//       https://redis.io/docs/latest/operate/oss_and_stack/management/scaling/
//   Run:      nothing to run here; config.ts loads it for such an address
//   Partner:  npx tsx extras/cluster.ts    a cluster on this machine
//   Delivery: no command is sent twice; a master's death costs some seconds.
//
// It behaves as one client: `error` when a node breaks, `ready` when all
// masters answer again. A key belongs to one master, by a hash of its name;
// of a name with braces, only what is in them counts.

import { EventEmitter } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient as one, createCluster, ErrorReply } from "redis";
import { complain } from "../config.ts";

type Options = NonNullable<Parameters<typeof one>[0]>;
// deno-lint-ignore no-explicit-any
type Any = any;

/** As node-redis's createClient, for a cluster. */
export function createClient({ url, ...options }: Options) {
  // s? for TLS, then user:password@ or nothing, then the addresses.
  const [, tls, user, password, addresses] =
    /^redis(s?)\+cluster:\/\/(?:([^:@]*):?(.*)@)?([^@/]*)/i.exec(url!)!;
  const rootNodes = addresses!.split(",").map((node) => {
    if (!URL.canParse(`redis://${node}`)) {
      complain(`--redis-url (or REDIS_URL) ${node} must be host:port`);
      process.exit(2);
    }
    const { hostname, port } = new URL(`redis://${node}`);
    const host = hostname.replace(/[[\]]/g, ""); // [::1] without the brackets
    return { socket: { host, port: Number(port || 6379) } };
  });
  const defaults = {
    ...options,
    username: user ? decodeURIComponent(user) : undefined,
    password: password ? decodeURIComponent(password) : undefined,
    socket: { ...options.socket, tls: tls !== "" },
  } as Any;

  const events = new EventEmitter();
  const state = { isOpen: false, isReady: false };
  // What is subscribed, to do it again on a new connection.
  const subscriptions: [name: string, args: unknown[]][] = [];
  let cluster: ReturnType<typeof make>;
  let connected: typeof cluster | undefined; // the one that has been ready

  function make() {
    const made = createCluster({
      rootNodes,
      defaults,
      commandOptions: options.commandOptions,
      // The default of 5 s would be most of the time without service.
      topologyRefreshOnReconnectionAttemptStrategy: 300,
    });
    const broken = (err: unknown) => {
      if (made !== cluster) return;
      state.isReady = false;
      events.emit("error", err);
    };
    made.on("node-error", broken);
    made.on("node-reconnecting", () => {
      if (made === cluster) events.emit("reconnecting");
    });
    made.on("error", () => {}); // of one node; connect() looks at them all
    return made;
  }

  async function connect() {
    state.isOpen = true;
    for (let mine = cluster = make();; mine = cluster = make()) {
      const isOld = () => mine !== cluster || !state.isOpen;
      // Of what the addresses say, an answer tells more than a silence.
      let said: unknown;
      mine.on("error", (err) => said = said instanceof ErrorReply ? said : err);
      // node-redis would wait for a master that is gone, with its old map.
      const gone = new Promise((_, no) => mine.on("node-error", no));
      try {
        await Promise.race([mine.connect(), gone]);
        if (mine.masters.length === 0) {
          throw new ErrorReply("CLUSTERDOWN no master has slots");
        }
        for (const [name, args] of subscriptions) {
          await (mine as Any)[name](...args);
        }
        if (isOld()) throw new Error("renewed meanwhile");
        connected = mine;
        return ready();
      } catch (err) {
        // Later: destroy() passes over a connection that is being opened.
        setTimeout(() => mine.destroy(), 1500);
        if (isOld()) return;
        events.emit("error", said ?? err);
        await sleep(300);
        if (isOld()) return;
      }
    }
  }
  function ready() {
    if (!state.isReady) {
      state.isReady = true;
      events.emit("ready");
    }
  }

  const own = {
    connect,
    destroy() {
      Object.assign(state, { isOpen: false, isReady: false });
      cluster.destroy();
    },
    /** All masters answer, and so does the node that we are subscribed at. */
    async ping() {
      const asked = cluster;
      if (asked !== connected) throw new Error("not connected yet");
      const { masters, pubSubNode } = asked;
      await Promise.all([
        ...masters.map(async (node) => (await asked.nodeClient(node)).ping()),
        pubSubNode?.client.ping(),
      ]);
      if (asked === cluster && state.isOpen) ready();
    },
    /** Each node counts its own; a pattern's subscribers count at one only. */
    async publish(channel: string, message: string) {
      const [first, ...others] = await nodes();
      const counts = await Promise.all([
        first!.publish(channel, message),
        ...others.map((node) => heard(node, channel)),
      ]);
      return counts.reduce((sum, count) => sum + count);
    },
    async pubSubNumSub(channel: string) {
      const all = await nodes();
      const counts = await Promise.all(all.map((node) => heard(node, channel)));
      return { [channel]: counts.reduce((sum, count) => sum + count) };
    },
    async clientList() {
      const all = await nodes();
      const lists = await Promise.all(all.map((node) => node.clientList()));
      // Each node counts from 1.
      return lists.flatMap((list, i) =>
        list.map((client) => ({ ...client, id: client.id * all.length + i }))
      );
    },
    /** For MONITOR, which a node does for itself. */
    duplicate() {
      const all = cluster.masters.map(({ client }) => client!.duplicate());
      return {
        on: (name: Any, hear: Any) =>
          all.forEach((node) => node.on(name, hear)),
        connect: () => Promise.all(all.map((node) => node.connect())),
        monitor: (hear: Any) =>
          Promise.all(all.map((node) => node.monitor(hear))),
        destroy: () => all.forEach((node) => node.isOpen && node.destroy()),
      };
    },
    subscribe: (...args: unknown[]) => subscribe("subscribe", args),
    pSubscribe: (...args: unknown[]) => subscribe("pSubscribe", args),
    on: listen("on"),
    once: listen("once"),
    emit: (name: string, err: unknown) => events.emit(name, err),
    multi: () => tagged(cluster.multi()),
    withTypeMapping: (mapping: Any) =>
      face((now) => now.withTypeMapping(mapping)),
  };
  const nodes = () =>
    Promise.all(cluster.masters.map((node) => cluster.nodeClient(node)));
  const heard = async (node: Any, channel: string) =>
    Number((await node.pubSubNumSub(channel))[channel]);
  async function subscribe(name: string, args: unknown[]) {
    await (cluster as Any)[name](...args);
    subscriptions.push([name, args]);
  }
  function listen(how: "on" | "once") {
    return (name: string, listener: () => void) => {
      events[how](name, listener);
      return client;
    };
  }

  // Everything else is the cluster's, of today's connection.
  function face(view: (now: typeof cluster) => object): Any {
    let seen: typeof cluster;
    let commands: Any; // of the one seen
    return new Proxy(own, {
      get(_, name) {
        if (name === "then") return undefined; // it is not a promise
        if (name in state) return state[name as keyof typeof state];
        if (name in own) return own[name as keyof typeof own];
        if (seen !== cluster) commands = tagged(view(seen = cluster));
        return commands[name];
      },
    });
  }
  const client = face((now) => now);
  return client as ReturnType<typeof one>;
}

/** Its commands; when their keys are not all on one master, they say why. */
function tagged(target: object, key?: unknown): Any {
  return new Proxy(target, {
    get(_, name) {
      const value = (target as Any)[name];
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        const keys = name === "eval" ? (args[1] as Any).keys : args[0];
        const first = key ?? [keys].flat()[0];
        const result = value.apply(target, args);
        if (result === target) return tagged(target, first); // multi() goes on
        return result instanceof Promise
          ? result.catch((err) => explain(err, String(first)))
          : result;
      };
    },
  });
}
function explain(err: Error, key: string): never {
  // MULTI goes to the master of its first key, which sends the others away.
  if (!/^(CROSSSLOT|MOVED|EXECABORT)/.test(err.message)) throw err;
  // Without what our scripts put behind the name of a queue.
  const queue = key.replace(/:(inhand|urgent|dead|reply)\b.*/, "");
  throw new ErrorReply(
    "CROSSSLOT, its lists would be on several masters. Braces in the name " +
      `keep them on one: --stream or --queue "{${queue}}"`,
  );
}
