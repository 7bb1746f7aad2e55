// The client's decisions, one by one: no network, no clock.
import assert from 'node:assert/strict';
import test from 'node:test';

import { backoff } from '../../../clients/typescript/src/backoff.js';
import { verdictOn } from '../../../clients/typescript/src/closes.js';
import { AgentHostClient } from '../../../clients/typescript/src/index.js';
import { ThreadLog } from '../../../clients/typescript/src/thread-log.js';

const event = (seq, thread = 't') => ({ type: 'agent_thinking', seq, thread_id: thread, run_id: 'r', payload: {} });
const seqs = (events) => events.map(({ seq }) => seq);

test('the pause grows to its ceiling, and is spread below it', () => {
  const ceilings = [1, 2, 3, 7, 8, 1000].map((attempt) => backoff(attempt, { random: () => 1 }));
  assert.deepEqual(ceilings, [500, 1000, 2000, 30_000, 30_000, 30_000]);
  assert.equal(backoff(5, { random: () => 0 }), 50);
  assert.equal(backoff(2, { random: () => 0.5 }), 500);
});

test('close codes: again, with a new credential, or not without a change', () => {
  for (const code of [1000, 1001, 1006, 1011, 1012, 1013, 4000, 4400, 4403, 4404, 4405, 4499]) {
    assert.equal(verdictOn(code), 'again', String(code));
  }
  assert.equal(verdictOn(4401), 'renew');
  for (const code of [4500, 4501, 4503, 4505, 4999]) assert.equal(verdictOn(code), 'stop', String(code));
});

test('a log hands each event on once, and in order', () => {
  const log = new ThreadLog('t');
  assert.deepEqual([1, 2, 2, 1, 4, 3, 4].map((seq) => log.take(event(seq))), [
    'next', 'next', 'known', 'known', 'hole', 'next', 'next',
  ]);
  assert.equal(log.position, 4);
});

test('what is live while history is read waits for it', () => {
  const log = new ThreadLog('t', { position: 2, epoch: 'e' });
  log.fill();
  assert.equal(log.take(event(9)), 'kept');
  assert.equal(log.take(event(8)), 'kept');
  assert.deepEqual(seqs(log.page([event(2), event(3), event(4)])), [3, 4]);
  assert.deepEqual(seqs(log.page([event(5), event(6), event(7), event(8)])), [5, 6, 7, 8]);
  assert.deepEqual(seqs(log.filled().events), [9]);
  assert.equal(log.filling, false);
});

test('history that ends early leaves a hole, and says so', () => {
  const log = new ThreadLog('t');
  log.fill();
  log.take(event(5));
  log.page([event(1)]);
  assert.deepEqual(log.filled(), { events: [], hole: true });
  assert.equal(log.position, 1);
});

test('another life of the log begins at its start', () => {
  const log = new ThreadLog('t', { position: 40, epoch: 'old' });
  log.restart();
  assert.equal(log.take(event(1)), 'next');
});

test('any order of delivery, with repeats and replays from the position, ends in the same log', () => {
  let state = Number(process.env.SEED ?? 20261125);
  console.log(`seed ${state}`);
  const random = (below) => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return state % below;
  };
  for (let round = 0; round < 500; round += 1) {
    const log = new ThreadLog('t');
    const told = [];
    const length = 1 + random(30);
    while (log.position < length) {
      const seq = 1 + random(length);
      const replay = log.take(event(seq)) === 'hole' ? Array.from({ length }, (_, n) => n + 1) : [];
      if (log.position === seq && told.at(-1) !== seq) told.push(seq);
      for (const again of replay) if (log.take(event(again)) === 'next') told.push(again);
    }
    assert.deepEqual(told, Array.from({ length }, (_, n) => n + 1));
  }
});

test('without a WebSocket, or after its end, the client says what to do', async () => {
  const options = { url: 'ws://127.0.0.1:9/ws', credential: () => ({ token: 't' }) };
  if (globalThis.WebSocket === undefined) assert.throws(() => new AgentHostClient(options), /pass one as `WebSocket`/);
  class Never {
    readyState = 0;
    close() {}
  }
  const client = new AgentHostClient({ ...options, WebSocket: Never });
  const connected = client.connect();
  const run = client.send('hello');
  client.close();
  await assert.rejects(connected, { code: 'client.closed' });
  await assert.rejects(run.completed, { code: 'client.closed' });
  assert.throws(() => client.send('more'), { code: 'client.closed' });
});

test('more than may wait is refused, not lost', () => {
  class Never {
    close() {}
  }
  const client = new AgentHostClient({
    url: 'ws://127.0.0.1:9/ws', credential: () => ({ token: 't' }), WebSocket: Never, maxPending: 2,
  });
  client.send('one');
  client.send('two');
  assert.throws(() => client.send('three'), { code: 'client.outbox_full', retryable: true });
  client.close();
});
