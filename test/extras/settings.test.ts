// Settings of the extras: defaults, variables, flags and bad values.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { testSettings } from "../settings.ts";
import { atOnce, flag, script } from "../tools.ts";

const consumes = ["REDIS_URL", "QUEUE", "ORDER", "WORK_MS"];
const streams = ["REDIS_URL", "STREAM", "MQ_GROUP", "FROM"];
const uses = {
  "extras/reliable-consumer.ts": [...consumes, "LEASE_MS", "MQ_NAME"],
  "extras/batch-consumer.ts": [...consumes, "BATCH", "MQ_NAME"],
  "extras/priority-consumer.ts": [...consumes, "MQ_NAME"],
  "extras/batch-producer.ts": ["REDIS_URL", "QUEUE"],
  "extras/asker.ts": ["REDIS_URL", "QUEUE", "WAIT_MS"],
  "extras/answerer.ts": ["REDIS_URL", "QUEUE", "WORK_MS", "MQ_NAME"],
  "extras/topic-subscriber.ts": ["REDIS_URL", "MQ_NAME"],
  "extras/stream-producer.ts": ["REDIS_URL", "STREAM"],
  "extras/stream-consumer.ts": [...streams, "WORK_MS", "BATCH", "MQ_NAME"],
  "extras/stream-worker.ts": [
    ...streams,
    ...["TRIES", "WORK_MS", "LEASE_MS", "MQ_NAME"],
  ],
  "extras/redis.ts": ["REDIS_URL"],
  "extras/start.ts": [...consumes, "CHANNEL", "MQ_HOST", "PORT"],
};
// One below and one above what each takes.
const ranges: [file: string, name: string, ...bad: string[]][] = [
  ["extras/reliable-consumer.ts", "LEASE_MS", "999", "3600001"],
  ["extras/stream-worker.ts", "LEASE_MS", "999", "3600001"],
  ["extras/stream-worker.ts", "TRIES", "0", "1001"],
  ["extras/batch-consumer.ts", "BATCH", "0", "10001"],
  ["extras/stream-consumer.ts", "BATCH", "0", "10001"],
  ["extras/asker.ts", "WAIT_MS", "0", "3600001"],
];

describe("settings of extras", { concurrency: atOnce }, () => {
  testSettings(uses);

  for (const [file, name, ...bad] of ranges) {
    test(`${file} refuses ${name}=${bad.join(" and ")}`, async (t) => {
      for (const value of bad) {
        const refused = script(t, file, [`${flag(name)}=${value}`]);
        assert.equal(await refused.status, 2);
        assert.match(refused.err, /^--\S+ \(or \w+\) must be a whole .*\n$/);
      }
    });
  }
});
