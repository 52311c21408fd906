// Runs one task queue on PostgreSQL under the load that `backstay bench ledger` puts on its own ledger: so many callers at
// once, each of whose steps is a commit of its own. Called with one argument, the order as JSON:
//   { "rival", "url", "callers", "tasks", "seconds", "bytes" }
// The last line on standard output is what came out, as JSON.

import { createRequire } from 'node:module';
import { performance } from 'node:perf_hooks';
import pg from 'pg';

const order = JSON.parse(process.argv[2]);
const require = createRequire(import.meta.url);
const version = (name) => {
  // Not every package lets its manifest be imported.
  const path = new URL(`./node_modules/${name}/package.json`, import.meta.url);
  return require(path.pathname).version;
};

// As many bytes of JSON as a task of ours is wished with.
const payload = (n) => {
  const body = { number: n, filler: '' };
  body.filler = 'x'.repeat(Math.max(0, order.bytes - JSON.stringify(body).length));
  return body;
};

class Times {
  constructor() {
    this.each = [];
  }
  async of(step) {
    const begin = performance.now();
    const result = await step();
    this.each.push(performance.now() - begin);
    return result;
  }
  spread() {
    const sorted = this.each.sort((a, b) => a - b);
    const at = (percent) => sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? 0;
    return { count: sorted.length, p50_ms: at(50), p99_ms: at(99), max_ms: at(100) };
  }
}

// So many callers do this again and again until enough was done or the time is over.
async function callers(step) {
  const end = performance.now() + order.seconds * 1000;
  let begun = 0;
  const caller = async () => {
    while (begun < order.tasks && performance.now() < end) {
      begun += 1;
      await step(begun);
    }
  };
  await Promise.all(Array.from({ length: order.callers }, caller));
  return begun;
}

async function pgBoss() {
  const { PgBoss } = await import('pg-boss');
  const boss = new PgBoss({
    connectionString: order.url,
    max: order.callers,
    schema: 'rival_pgboss',
    supervise: false,
    schedule: false,
  });
  boss.on('error', (error) => console.error(error));
  await boss.start();
  const queue = 'bench';
  await boss.createQueue(queue);
  const [enqueue, take, complete] = [new Times(), new Times(), new Times()];
  const begin = performance.now();
  const tasks = await callers(async (n) => {
    await enqueue.of(() => boss.send(queue, payload(n)));
    const taken = await take.of(async () => {
      for (;;) {
        // Others may hold whatever is there for a moment.
        const jobs = await boss.fetch(queue);
        if (jobs && jobs.length > 0) return jobs[0];
      }
    });
    await complete.of(() => boss.complete(queue, taken.id));
  });
  const seconds = (performance.now() - begin) / 1000;
  await boss.stop({ graceful: false });
  const steps = { enqueue: enqueue.spread(), take: take.spread(), complete: complete.spread() };
  return { version: version('pg-boss'), tasks, seconds, steps };
}

// It has no call that takes one task: its runner takes them, so the runner works while the callers enqueue, and the time
// ends with the last completion.
async function graphileWorker(tuned) {
  const { run, makeWorkerUtils, Logger } = await import('graphile-worker');
  const quiet = new Logger(() => () => {});
  const schema = 'rival_graphile';
  const pgPool = new pg.Pool({ connectionString: order.url, max: 2 * order.callers });
  pgPool.on('error', (error) => console.error(error));
  pgPool.on('connect', (client) => client.on('error', (error) => console.error(error)));
  const worker = { schema, concurrentJobs: order.callers, maxPoolSize: 2 * order.callers };
  const batches = { localQueue: { size: order.callers + 1 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
  const preset = { worker: tuned ? { ...worker, ...batches } : worker };
  const utils = await makeWorkerUtils({ pgPool, preset, logger: quiet });
  await utils.migrate();
  let completed = 0;
  let wanted = Infinity;
  let done;
  const finished = new Promise((resolve) => (done = resolve));
  const runner = await run({
    pgPool,
    preset,
    logger: quiet,
    noHandleSignals: true,
    taskList: { bench: async () => {} },
  });
  runner.events.on('job:complete', () => {
    completed += 1;
    if (completed >= wanted) done();
  });
  const enqueue = new Times();
  const begin = performance.now();
  wanted = await callers((n) => enqueue.of(() => utils.addJob('bench', payload(n))));
  if (completed < wanted) await finished;
  const seconds = (performance.now() - begin) / 1000;
  await runner.stop();
  await utils.release();
  await pgPool.end();
  return { version: version('graphile-worker'), tasks: wanted, seconds, steps: { enqueue: enqueue.spread() } };
}

const rivals = {
  'pg-boss': pgBoss,
  'graphile-worker': () => graphileWorker(false),
  'graphile-worker, batches': () => graphileWorker(true),
};
const rival = rivals[order.rival];
if (!rival) throw new Error(`there is no rival '${order.rival}'`);
const client = new pg.Client({ connectionString: order.url });
await client.connect();
await client.query('DROP SCHEMA IF EXISTS rival_pgboss CASCADE; DROP SCHEMA IF EXISTS rival_graphile CASCADE;');
const settings = await client.query(
  "SELECT current_setting('synchronous_commit') AS commit, current_setting('fsync') AS fsync, version() AS server",
);
await client.end();
const outcome = await rival();
console.log(JSON.stringify({ rival: order.rival, ...outcome, ...settings.rows[0] }));
process.exit(0);
