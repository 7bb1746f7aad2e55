// What the client does for a program, as one would use it: the same scenarios in Node and in a browser.
//
// A world is `{ makeClient(options?), proxy: { cut, reset, stall, heal, halfClose }, token(seconds), random(below), url,
// library }`: `url` is the socket's, `library` what the client's package exports.

function check(holds, what) {
  if (!holds) throw new Error(what);
}

function same(left, right, what) {
  const [one, two] = [JSON.stringify(left), JSON.stringify(right)];
  check(one === two, `${what}: ${one} is not ${two}`);
}

/** Gathers the events of all threads, and holds each thread against the law: dense, each once. */
function watched(client) {
  const threads = new Map();
  client.on('event', (event) => {
    const events = threads.get(event.thread_id) ?? [];
    threads.set(event.thread_id, events);
    check(event.seq === (events.at(-1)?.seq ?? event.seq - 1) + 1, `seq ${event.seq} after ${events.at(-1)?.seq}`);
    events.push(event);
  });
  return threads;
}

const until = (client, name, holds = () => true) =>
  new Promise((resolve) => {
    const off = client.on(name, (what) => {
      if (!holds(what)) return;
      off();
      resolve(what);
    });
  });

async function readAll(run) {
  const events = [];
  for await (const event of run) events.push(event);
  return events;
}

export const scenarios = {
  async 'a message is answered, and its events are those of a run'({ makeClient }) {
    const client = makeClient();
    const welcome = await client.connect();
    same(welcome.service.level, 'full', 'level');
    const run = client.send('hello');
    const events = await readAll(run);
    same(events.map(({ type }) => type).filter((type) => type !== 'agent_message_delta'), [
      'user_message', 'agent_started', 'agent_completed',
    ], 'events');
    const { payload } = await run.completed;
    same([payload.status, payload.text], ['ok', 'hello'], 'answer');
    const again = client.send('and again', { thread: run.threadId });
    await again.completed;
    same(again.threadId, run.threadId, 'thread');
    client.close();
  },

  async 'a ticket opens each connection, and the log is read over HTTP'({ makeClient, proxy, token, url, library }) {
    const { restHistory, ticketCredential } = library;
    const from = { url: url.replace('ws:', 'http:'), token: () => token(600) };
    let tickets = 0;
    const ticket = ticketCredential(from);
    const credential = async () => {
      tickets += 1;
      const { ticket: one } = await ticket();
      return { ticket: one };
    };
    const client = makeClient({ credential });
    await client.connect();
    const run = client.send('hello');
    const events = await readAll(run);
    await proxy.cut();
    const again = client.send('and again', { thread: run.threadId });
    same((await again.completed).payload.text, 'and again', 'answer after a cut');
    check(tickets >= 2, `a ticket for each connection, not ${tickets}`);
    const read = [];
    for (let after = 0; after !== null; ) {
      const page = await restHistory({ ...from, limit: 3 })(run.threadId, after);
      read.push(...page.events);
      after = page.next_after;
    }
    same(read.slice(0, events.length), events, 'the log over HTTP is what the socket told');
    const strange = await restHistory(from)('no-such-thread', 0).catch((error) => error);
    same([strange.code, strange.status, strange.retryable], ['thread.not_found', 404, false], 'a thread that is not there');
    client.close();
  },

  async 'a message that is sent before there is a connection goes out with it'({ makeClient }) {
    const client = makeClient();
    const run = client.send('early');
    await client.connect();
    same((await run.completed).payload.text, 'early', 'answer');
    client.close();
  },

  async 'a run goes on over cuts, resets and half-closes, without gap or repeat'({ makeClient, proxy, random }) {
    const client = makeClient();
    const threads = watched(client);
    await client.connect();
    const ways = ['cut', 'reset', 'halfClose'];
    for (let round = 0; round < 9; round += 1) {
      const run = client.send(`!many ${100 + random(400)}`, { metadata: { round } });
      const wanted = 1 + random(80);
      let seen = 0;
      let done;
      for await (const event of run) {
        seen += 1;
        if (seen === wanted) await proxy[ways[round % ways.length]]();
        done = event;
      }
      same([done.type, done.payload.status], ['agent_completed', 'ok'], `round ${round}`);
      const events = threads.get(run.threadId);
      same(events.at(-1).seq, events.length, 'dense from 1');
      same(events.filter(({ type }) => type === 'agent_completed').length, 1, 'one end');
    }
    client.close();
  },

  async 'a network that only falls silent is noticed, and left'({ makeClient, proxy }) {
    const client = makeClient({ silenceMs: 300, pongWithinMs: 300 });
    watched(client);
    await client.connect();
    const before = client.welcome.connection_id;
    const back = until(client, 'welcome');
    const run = client.send('!many 2000');
    await run.accepted;
    await proxy.stall();
    await until(client, 'state', (state) => state === 'waiting');
    await proxy.heal();
    check((await back).connection_id !== before, 'the same connection');
    same((await run.completed).payload.status, 'ok', 'status');
    client.close();
  },

  async 'whatever is lost on the way, each message takes effect once'({ makeClient, proxy, random }) {
    const client = makeClient({ silenceMs: 300, pongWithinMs: 300 });
    const threads = watched(client);
    await client.connect();
    const first = client.send('first');
    const { thread_id: thread } = await first.accepted;
    await first.completed;
    const runs = [];
    for (let n = 0; n < 12; n += 1) {
      runs.push(client.send(`message ${n}`, { thread }));
      if (random(3) > 0) await proxy[['cut', 'reset', 'halfClose'][random(3)]]();
      if (random(4) === 0) await runs.at(-1).completed;
    }
    for (const run of runs) same((await run.completed).payload.status, 'ok', run.id);
    const said = threads.get(thread).filter(({ type }) => type === 'user_message').map(({ payload }) => payload.content);
    same([...said].sort(), ['first', ...runs.map((_, n) => `message ${n}`)].sort(), 'each once');

    const other = makeClient();
    const replayed = watched(other);
    await other.connect();
    other.subscribe(thread);
    await until(other, 'event', (event) => event.seq === threads.get(thread).length);
    same(replayed.get(thread), threads.get(thread), 'a second client sees the same log');
    client.close();
    other.close();
  },

  async 'a client that comes back later goes on where the last one was'({ makeClient }) {
    const client = makeClient();
    await client.connect();
    const run = client.send('remember');
    await run.completed;
    const position = client.position(run.threadId);
    client.close();

    const next = makeClient();
    const threads = watched(next);
    await next.connect();
    next.subscribe(run.threadId, position);
    await next.send('go on', { thread: run.threadId }).completed;
    same(threads.get(run.threadId)[0].seq, position.after + 1, 'first event');
    next.close();
  },

  async 'a cancel is kept until the run has ended, over a cut as well'({ makeClient, proxy }) {
    const client = makeClient();
    await client.connect();
    const early = client.send('!wait');
    early.cancel();
    same((await early.completed).payload.status, 'cancelled', 'status of the early one');
    const run = client.send('!ignore-cancel');
    await run.accepted;
    run.cancel();
    await proxy.cut();
    same((await run.completed).payload.status, 'cancelled', 'status');
    // An agent that ignores it is ended, and started again; until then the fallback answers.
    while ((await client.send('are you back?').completed).payload.status !== 'ok');
    client.close();
  },

  async 'a question is answered by a new run'({ makeClient }) {
    const client = makeClient();
    await client.connect();
    const run = client.send('!ask');
    const { payload } = await run.completed;
    same(payload.status, 'input_required', 'status');
    const answer = client.answer({ run: run.runId, interrupt: payload.interrupts[0].interrupt_id, response: true });
    same((await answer.accepted).resumes, run.runId, 'resumes');
    same((await answer.completed).payload.text, 'true', 'text');
    client.close();
  },

  async 'a token is renewed before it expires'({ makeClient, token }) {
    const reasons = [];
    const client = makeClient({
      async credential(why) {
        reasons.push(why);
        return { token: await token(why === 'expiring' ? 600 : 25) };
      },
    });
    const renewed = new Promise((resolve) => {
      const ask = setInterval(() => reasons.includes('expiring') && resolve(clearInterval(ask)), 20);
    });
    await client.connect();
    await renewed;
    await client.send('still here').completed;
    same(reasons, ['connect', 'expiring'], 'reasons');
    client.close();
  },

  async 'an expired token costs a connection, not the conversation'({ makeClient, token }) {
    const reasons = [];
    const client = makeClient({
      async credential(why) {
        reasons.push(why);
        if (why === 'expiring') throw new Error('the issuer is away');
        return { token: await token(why === 'expired' ? 600 : 8) };
      },
    });
    await client.connect();
    const run = client.send('!slow 12000');
    const ended = await until(client, 'error', ({ closeCode }) => closeCode === 4401);
    same(ended.retryable, true, 'retryable');
    same((await run.completed).payload.status, 'ok', 'status');
    same(reasons, ['connect', 'expiring', 'expired'], 'reasons');
    client.close();
  },

  async 'a refusal is an error with the host\'s code, and the client goes on'({ makeClient }) {
    const client = makeClient();
    const { limits } = await client.connect();
    const unknown = await client.send('hello', { agent: 'nobody' }).completed.catch((error) => error);
    same(unknown.code, 'agent.unknown', 'code');
    let large;
    try {
      client.send('x'.repeat(limits.frame_bytes));
    } catch (error) {
      large = error;
    }
    same(large?.code, 'frame.too_large', 'code');
    const stranger = await client.send('hello', { thread: 'not-mine' }).completed.catch((error) => error);
    same(stranger.code, 'thread.not_found', 'code');
    await client.send('hello').completed;
    client.close();
  },
};
