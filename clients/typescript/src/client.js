/**
 * The client: keeps a conversation going over connections that come and go.
 *
 * Messages are sent again until they are accepted, under the same id, so that each takes effect once. Each thread's
 * events are handed on in order, each once: a hole is replayed by the host, or read as history.
 */
import { backoff } from './backoff.js';
import { verdictOn } from './closes.js';
import { AgentHostError } from './errors.js';
import { Run } from './run.js';
import { Socket } from './socket.js';
import { ThreadLog } from './thread-log.js';

/**
 * @typedef {import('../types/frames.js').ServerFrame} ServerFrame
 * @typedef {import('../types/frames.js').ClientFrame} ClientFrame
 * @typedef {import('../types/frames.js').EventFrame} EventFrame
 * @typedef {import('../types/frames.js').Welcome} Welcome
 *
 * @typedef {{ token: string } | { ticket: string, token?: string }} Credential `token`: a JWT, sent as a subprotocol
 *   entry and used for `auth_refresh`; `ticket`: a one-time ticket, used in its place to connect.
 * @typedef {'connect' | 'expired' | 'expiring'} CredentialReason Why one is asked for.
 * @typedef {'idle' | 'connecting' | 'open' | 'waiting' | 'closed'} State `open`: the welcome came; `waiting`: for the
 *   next try; `closed`: by `close()`, or for good.
 *
 * @typedef {object} Options
 * @property {string} url The host's socket: `ws://host/ws` or `wss://host/ws`.
 * @property {(why: CredentialReason) => Credential | Promise<Credential>} credential Asked before each connection, and
 *   before a token expires. If it throws, that is a failed try; an `AgentHostError` with status 401 or 403 ends the client.
 * @property {(thread: string, after: number) => Promise<{ events: EventFrame[], next_after: number | null }>} [history]
 *   Reads what the socket cannot replay any more: see `restHistory`. Without it such a hole is reported and skipped.
 * @property {typeof WebSocket} [WebSocket] Where the platform has none.
 * @property {number} [maxPending] Messages that may wait to be accepted (default 100); beyond, `send` throws.
 * @property {number} [connectWithinMs] From the start of a try to the welcome (default 10,000).
 * @property {number} [silenceMs] After so long without a frame the host is asked for a sign of life
 *   (default 15,000).
 * @property {number} [pongWithinMs] And has so long to give it, before the client connects again (default 8,000).
 * @property {(attempt: number) => number} [backoff] Milliseconds before try number `attempt` + 1.
 *
 * @typedef {Pick<Welcome['service'], 'level' | 'reason' | 'missing'>} Service What the service can do.
 *
 * @typedef {object} Listeners What a program may listen to.
 * @property {(state: State) => void} state
 * @property {(welcome: Welcome) => void} welcome
 * @property {(service: Service) => void} service It changed, or a connection began.
 * @property {(event: EventFrame) => void} event Each event of each followed thread, in order, once.
 * @property {(gap: { thread: string, reason: string, from: number, to: number, filled: boolean }) => void} gap What the
 *   socket could not replay: `filled` from history, or lost to this client.
 * @property {(error: AgentHostError) => void} error A refusal that belongs to no message, or a failed connection.
 *
 * @typedef {object} Pending A message on its way to being accepted.
 * @property {ClientFrame & { id: string }} frame
 * @property {Run} run
 * @property {boolean} held Not to be sent before its pause is over.
 */

/** History is read again after a failure so often, and the pauses grow as those between connections. */
const HISTORY_TRIES = 6;

export class AgentHostClient {
  #options;
  /** @type {State} */
  #state = 'idle';
  /** @type {Socket | null} */
  #socket = null;
  /** @type {Map<string, ThreadLog>} */
  #threads = new Map();
  /** @type {Map<string, Pending>} In the order in which they were sent. */
  #pending = new Map();
  /** @type {Map<string, Run>} Accepted and not ended, by run id. */
  #runs = new Map();
  /** @type {Set<Run>} */
  #toCancel = new Set();
  /** @type {Set<string>} Threads whose `subscribe` has not been answered. */
  #resuming = new Set();
  /** @type {Map<string, Set<Function>>} */
  #listeners = new Map();
  /** @type {Set<ReturnType<typeof setTimeout>>} */
  #timers = new Set();
  /** @type {CredentialReason} */
  #why = 'connect';
  /** @type {number | null} */
  #toldToWait = null;
  /** @type {Welcome | null} */
  #welcome = null;
  /** @type {Service | null} */
  #service = null;
  /** @type {Promise<Welcome> | null} */
  #connected = null;
  /** @type {{ resolve: (welcome: Welcome) => void, reject: (error: Error) => void } | null} */
  #connecting = null;
  #failed = 0;

  /** @param {Options} options */
  constructor(options) {
    const WebSocket = options.WebSocket ?? globalThis.WebSocket;
    if (!WebSocket) {
      throw new TypeError('this platform has no WebSocket: pass one as `WebSocket` (in Node before 22, that of the package ws)');
    }
    this.#options = { maxPending: 100, connectWithinMs: 10_000, silenceMs: 15_000, pongWithinMs: 8_000, backoff, ...options, WebSocket };
  }

  /** @returns {State} */
  get state() {
    return this.#state;
  }

  /** The last welcome. @returns {Welcome | null} */
  get welcome() {
    return this.#welcome;
  }

  /** The service as the host last told it. @returns {Service | null} */
  get service() {
    return this.#service;
  }

  /**
   * Connects, and stays connected until `close()`. Resolves with the first welcome; tries again meanwhile. Rejects
   * only when it cannot work without a change.
   *
   * @returns {Promise<Welcome>}
   */
  connect() {
    if (this.#state === 'closed') return Promise.reject(this.#closedError());
    this.#connected ??= new Promise((resolve, reject) => {
      this.#connecting = { resolve, reject };
    });
    if (this.#state === 'idle') void this.#open();
    return this.#connected;
  }

  /**
   * Sends a message, now or as soon as there is a connection.
   *
   * @param {string} content
   * @param {{ thread?: string, agent?: string, metadata?: Record<string, unknown>, id?: string }} [more] `id`: the
   *   idempotency key, where the program has its own.
   * @returns {Run}
   */
  send(content, { thread, agent, metadata, id = crypto.randomUUID() } = {}) {
    /** @type {ClientFrame & { id: string }} */
    const frame = { type: 'user_message', id, content };
    if (thread !== undefined) frame.thread_id = thread;
    if (agent !== undefined) frame.agent = agent;
    if (metadata !== undefined) frame.metadata = metadata;
    return this.#submit(frame);
  }

  /**
   * Answers the question with which a run ended (`input_required`): a new run.
   *
   * @param {{ run: string, interrupt: string, response: unknown, id?: string }} answer
   * @returns {Run}
   */
  answer({ run, interrupt, response, id = crypto.randomUUID() }) {
    return this.#submit({ type: 'interrupt_response', id, run_id: run, interrupt_id: interrupt, response });
  }

  /**
   * Follows a thread, from after a position. Sending to a thread follows it, too.
   *
   * @param {string} thread
   * @param {{ after?: number, epoch?: string }} [from] Where a client that was here before left off: `position`.
   */
  subscribe(thread, { after = 0, epoch } = {}) {
    const log = new ThreadLog(thread, { position: after, epoch });
    this.#threads.set(thread, log);
    this.#resume(log);
  }

  /** @param {string} thread */
  unsubscribe(thread) {
    this.#threads.delete(thread);
    this.#socket?.send({ type: 'unsubscribe', thread_id: thread });
  }

  /**
   * Where this client stands in a thread: to be kept, and given to `subscribe` by the next one.
   *
   * @param {string} thread
   * @returns {{ after: number, epoch: string | undefined } | undefined}
   */
  position(thread) {
    const log = this.#threads.get(thread);
    return log && { after: log.position, epoch: log.epoch };
  }

  /** Closes for good. What was not accepted and not completed is rejected: `client.closed`. */
  close() {
    this.#stop(this.#closedError());
  }

  /**
   * @template {keyof Listeners} Name
   * @param {Name} name
   * @param {Listeners[Name]} listener
   * @returns {() => void} Listens no more.
   */
  on(name, listener) {
    const all = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, all);
    all.add(listener);
    return () => void all.delete(listener);
  }

  // --- connections ---

  async #open() {
    this.#become('connecting');
    const why = this.#why;
    /** @type {Credential} */
    let credential;
    try {
      credential = await this.#options.credential(why);
    } catch (cause) {
      this.#credentialFailed(cause);
      return;
    }
    if (this.#state !== 'connecting') return;
    this.#why = 'connect';
    try {
      this.#socket = new Socket({
        url: this.#options.url,
        credential,
        WebSocket: this.#options.WebSocket,
        patience: {
          welcomeMs: this.#options.connectWithinMs,
          silenceMs: this.#options.silenceMs,
          pongMs: this.#options.pongWithinMs,
        },
        onFrame: (frame) => this.#hear(frame),
        onEnd: (end) => this.#ended(end),
      });
    } catch (cause) {
      // The address or a subprotocol is none: no other try can do better.
      this.#stop(new AgentHostError('client.refused', `cannot connect to ${this.#options.url}: ${cause}`, { cause }));
    }
  }

  /** @param {unknown} cause */
  #credentialFailed(cause) {
    if (this.#state === 'closed') return;
    const error =
      cause instanceof AgentHostError
        ? cause
        : new AgentHostError('client.credential', `no credential: ${cause}`, { cause, retryable: true });
    if (error.status === 401 || error.status === 403) this.#stop(error);
    else this.#again(error);
  }

  /** @param {import('./socket.js').End} end */
  #ended({ code, reason, welcomed }) {
    this.#socket = null;
    if (this.#state === 'closed') return;
    const error = new AgentHostError('client.refused', reason || `the connection ended (${code})`, {
      closeCode: code,
      retryable: true,
    });
    const verdict = verdictOn(code);
    if (verdict === 'stop') {
      error.retryable = false;
      this.#stop(error);
      return;
    }
    if (verdict === 'renew') this.#why = 'expired';
    if (welcomed) this.#failed = 0;
    this.#again(error);
  }

  /** @param {AgentHostError} error */
  #again(error) {
    this.#failed += 1;
    this.#tell('error', error);
    if (this.#state === 'closed') return;
    this.#become('waiting');
    const pause = this.#toldToWait ?? this.#options.backoff(this.#failed);
    this.#toldToWait = null;
    this.#after(pause, () => void this.#open());
  }

  /** @param {AgentHostError} error */
  #stop(error) {
    if (this.#state === 'closed') return;
    this.#become('closed');
    this.#timers.forEach((timer) => clearTimeout(timer));
    this.#timers.clear();
    this.#connecting?.reject(error);
    this.#connected?.catch(() => {});
    for (const { run } of this.#pending.values()) run._fail(error);
    for (const run of this.#runs.values()) run._fail(error);
    this.#pending.clear();
    this.#runs.clear();
    this.#toCancel.clear();
    this.#socket?.close();
    this.#socket = null;
    if (error.code !== 'client.closed') this.#tell('error', error);
  }

  // --- frames ---

  /** @param {ServerFrame} frame */
  #hear(frame) {
    switch (frame.type) {
      case 'welcome':
        this.#welcomed(frame);
        break;
      case 'accepted':
        this.#accepted(frame);
        break;
      case 'subscribed':
        this.#subscribed(frame);
        break;
      case 'service_status':
        this.#serves(frame);
        break;
      case 'error':
        this.#refused(frame);
        break;
      case 'ping':
        this.#socket?.send({ type: 'pong' });
        this.#compare(frame.positions ?? {});
        break;
      case 'auth_expiring':
        void this.#refresh();
        break;
      case 'going_away':
        this.#toldToWait = frame.reconnect_after_ms;
        break;
      case 'pong':
      case 'auth_refreshed':
        break;
      default:
        // A later version of the protocol may say more: what has no place in a thread's log is passed over.
        if (typeof (/** @type {any} */ (frame).seq) === 'number') this.#event(frame);
    }
  }

  /** @param {Welcome} welcome */
  #welcomed(welcome) {
    this.#welcome = welcome;
    this.#become('open');
    this.#connecting?.resolve(welcome);
    this.#connecting = null;
    this.#resuming.clear();
    // Positions first, so that what a message sent again brings is judged against them.
    for (const log of this.#threads.values()) this.#resume(log);
    for (const pending of [...this.#pending.values()]) {
      const error = this.#tooLarge(pending.frame);
      if (error) this.#forget(pending, error);
      else if (!pending.held) this.#socket?.send(pending.frame);
    }
    for (const run of this.#toCancel) this.#cancel(run);
    this.#tell('welcome', welcome);
    this.#serves(welcome.service);
  }

  /** @param {Service} service */
  #serves({ level, reason, missing }) {
    this.#service = { level, reason, missing };
    this.#tell('service', this.#service);
  }

  /** @param {import('../types/frames.js').Accepted} frame */
  #accepted(frame) {
    const log = this.#follow(frame.thread_id, frame.seq - 1);
    log.epoch = frame.epoch;
    const pending = this.#pending.get(frame.id);
    if (!pending) return;
    this.#pending.delete(frame.id);
    const { run } = pending;
    run._accept(frame);
    // A replay may have brought its end before this answer to its second sending.
    if (!run.ended) this.#runs.set(frame.run_id, run);
    if (this.#toCancel.has(run)) this.#cancel(run);
  }

  /** @param {import('../types/frames.js').Subscribed} frame */
  #subscribed(frame) {
    const log = this.#threads.get(frame.thread_id);
    this.#resuming.delete(frame.thread_id);
    if (!log) return;
    const renewed = log.epoch !== undefined && log.epoch !== frame.epoch;
    log.epoch = frame.epoch;
    if (frame.recovered) return;
    if (renewed) log.restart();
    void this.#fill(log, frame.reason ?? 'unknown', frame.to_seq);
  }

  /** @param {import('../types/frames.js').ErrorFrame} frame */
  #refused(frame) {
    const error = new AgentHostError(frame.code, frame.message, { retryable: frame.retryable });
    const pending = frame.id === undefined ? undefined : this.#pending.get(frame.id);
    if (!pending) {
      this.#tell('error', error);
    } else if (frame.retryable) {
      pending.held = true;
      this.#after(frame.retry_after_ms ?? 1_000, () => {
        pending.held = false;
        if (this.#state === 'open' && this.#pending.get(pending.frame.id) === pending) this.#socket?.send(pending.frame);
      });
    } else {
      this.#forget(pending, error);
    }
  }

  /** @param {EventFrame} event */
  #event(event) {
    const log = this.#threads.get(event.thread_id);
    if (!log) return;
    switch (log.take(event)) {
      case 'next':
        this.#handOn(event);
        break;
      case 'hole':
        this.#resume(log);
        break;
      case 'known':
      case 'kept':
        break;
    }
  }

  /** @param {EventFrame} event */
  #handOn(event) {
    const run = this.#runs.get(event.run_id) ?? this.#begunBy(event);
    if (run) {
      run._push(event);
      if (run.ended) {
        this.#runs.delete(event.run_id);
        this.#toCancel.delete(run);
      }
    }
    this.#tell('event', event);
  }

  /**
   * The run of a message whose acceptance was lost with a connection: the replayed log names the message.
   *
   * @param {EventFrame} event
   */
  #begunBy(event) {
    if (event.type !== 'user_message') return undefined;
    const run = this.#pending.get(event.payload.message_id)?.run;
    if (run && !run.ended) this.#runs.set(event.run_id, run);
    return run;
  }

  /** A position of the host's above ours is a hole. @param {Record<string, number>} positions */
  #compare(positions) {
    for (const [thread, seq] of Object.entries(positions)) {
      const log = this.#threads.get(thread);
      if (log && !log.filling && seq > log.position) this.#resume(log);
    }
  }

  async #refresh() {
    try {
      const { token } = await this.#options.credential('expiring');
      // With tickets alone the connection expires, and the next one has a new ticket.
      if (token !== undefined) this.#socket?.send({ type: 'auth_refresh', token });
    } catch (cause) {
      this.#tell('error', new AgentHostError('client.credential', `the token could not be renewed: ${cause}`, { cause, retryable: true }));
    }
  }

  // --- threads ---

  /**
   * @param {string} thread
   * @param {number} position Where to begin if it is not followed yet.
   */
  #follow(thread, position) {
    let log = this.#threads.get(thread);
    if (!log) {
      log = new ThreadLog(thread, { position });
      this.#threads.set(thread, log);
    }
    return log;
  }

  /** @param {ThreadLog} log */
  #resume(log) {
    if (this.#state !== 'open' || this.#resuming.has(log.id)) return;
    this.#resuming.add(log.id);
    /** @type {ClientFrame} */
    const frame = { type: 'subscribe', thread_id: log.id, after_seq: log.position };
    if (log.epoch !== undefined) frame.epoch = log.epoch;
    this.#socket?.send(frame);
  }

  /**
   * Reads what the socket cannot replay, while what is live waits.
   *
   * @param {ThreadLog} log
   * @param {string} reason
   * @param {number} to
   */
  async #fill(log, reason, to) {
    if (log.filling) return;
    const from = log.position + 1;
    log.fill();
    const filled = await this.#readHistory(log, to);
    if (this.#threads.get(log.id) !== log || this.#state === 'closed') return;
    if (!filled) {
      log.skipTo(to);
      this.#lose(log.id);
    }
    const { events, hole } = log.filled();
    events.forEach((event) => this.#handOn(event));
    this.#tell('gap', { thread: log.id, reason, from, to, filled });
    if (hole) this.#resume(log);
  }

  /**
   * @param {ThreadLog} log
   * @param {number} to
   */
  async #readHistory(log, to) {
    const { history } = this.#options;
    if (!history) return log.position >= to;
    for (let failed = 0; log.position < to && failed < HISTORY_TRIES; ) {
      try {
        const { events } = await history(log.id, log.position);
        if (events.length === 0) return false;
        log.page(events).forEach((event) => this.#handOn(event));
        failed = 0;
      } catch (cause) {
        failed += 1;
        if (cause instanceof AgentHostError && !cause.retryable) return false;
        await new Promise((/** @type {(value: void) => void} */ go) => this.#after(this.#options.backoff(failed), go));
      }
    }
    return log.position >= to;
  }

  /** What became of a thread's runs cannot be known any more. @param {string} thread */
  #lose(thread) {
    for (const [id, run] of this.#runs) {
      if (run.threadId !== thread) continue;
      this.#runs.delete(id);
      run._fail(
        new AgentHostError('client.history_lost', `what became of run ${id} is not known: its thread's history could not be read; ask the host for the thread`),
      );
    }
  }

  // --- messages ---

  /** @param {ClientFrame & { id: string }} frame */
  #submit(frame) {
    if (this.#state === 'closed') throw this.#closedError();
    if (this.#pending.size >= this.#options.maxPending) {
      throw new AgentHostError('client.outbox_full', `${this.#pending.size} messages wait to be accepted: wait for some, or raise maxPending`, { retryable: true });
    }
    const tooLarge = this.#tooLarge(frame);
    if (tooLarge) throw tooLarge;
    const run = new Run(frame.id, (it) => this.#wantCancel(it));
    this.#pending.set(frame.id, { frame, run, held: false });
    if (this.#state === 'open') this.#socket?.send(frame);
    return run;
  }

  /** The host would close the connection for it. @param {ClientFrame} frame */
  #tooLarge(frame) {
    const most = this.#welcome?.limits.frame_bytes;
    const bytes = new TextEncoder().encode(JSON.stringify(frame)).length;
    if (most === undefined || bytes <= most) return undefined;
    return new AgentHostError('frame.too_large', `the message has ${bytes} bytes, and this host takes ${most}: shorten it`);
  }

  /** @param {Run} run */
  #wantCancel(run) {
    this.#toCancel.add(run);
    this.#cancel(run);
  }

  /** A wish that is kept until the run has ended. @param {Run} run */
  #cancel(run) {
    if (run.runId !== undefined && this.#state === 'open') this.#socket?.send({ type: 'cancel', run_id: run.runId });
  }

  /**
   * @param {Pending} pending
   * @param {AgentHostError} error
   */
  #forget({ frame, run }, error) {
    this.#pending.delete(frame.id);
    this.#toCancel.delete(run);
    run._fail(error);
  }

  // --- the rest ---

  /** @param {State} state */
  #become(state) {
    if (this.#state === state) return;
    this.#state = state;
    this.#tell('state', state);
  }

  /**
   * @param {number} ms
   * @param {() => void} act
   */
  #after(ms, act) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms);
    this.#timers.add(timer);
  }

  /**
   * A listener's own error is the program's, and reaches it as an uncaught one; the client goes on.
   *
   * @template {keyof Listeners} Name
   * @param {Name} name
   * @param {Parameters<Listeners[Name]>} what
   */
  #tell(name, ...what) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(...what);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  #closedError() {
    return new AgentHostError('client.closed', 'the client was closed: make another one');
  }
}
