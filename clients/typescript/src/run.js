/**
 * One message and its run, as the program that sent it holds it: accepted, its events, its end.
 *
 * @typedef {import('../types/frames.js').EventFrame} EventFrame
 * @typedef {import('../types/frames.js').AgentCompleted} AgentCompleted
 * @typedef {import('../types/frames.js').Accepted} Accepted
 */
export class Run {
  /** @type {EventFrame[]} */
  #waiting = [];
  /** @type {(() => void)[]} */
  #wakers = [];
  #ended = false;
  /** @type {Error | undefined} */
  #failure;
  /** @type {PromiseWithResolversLike<Accepted>} */
  #accepted = withResolvers();
  /** @type {PromiseWithResolversLike<AgentCompleted>} */
  #completed = withResolvers();
  /** @type {(run: Run) => void} */
  #cancel;

  /**
   * Made by the client's `send` and `answer`.
   *
   * @param {string} id The message's idempotency key.
   * @param {(run: Run) => void} cancel
   */
  constructor(id, cancel) {
    /** The message's idempotency key. @type {string} */
    this.id = id;
    /** Once accepted. @type {string | undefined} */
    this.runId = undefined;
    /** Once accepted. @type {string | undefined} */
    this.threadId = undefined;
    this.#cancel = cancel;
  }

  /** Resolves when the host has made the message durable; rejects if it refused it. @returns {Promise<Accepted>} */
  get accepted() {
    return this.#accepted.promise;
  }

  /**
   * Resolves with the run's last event, whatever its status; rejects if the message was refused, or if what became
   * of it cannot be known any more. @returns {Promise<AgentCompleted>}
   */
  get completed() {
    return this.#completed.promise;
  }

  /** Whether its end is known. */
  get ended() {
    return this.#ended;
  }

  /** Asks the host to stop the run, now or as soon as it is accepted. It ends `cancelled`, or as it was about to. */
  cancel() {
    if (!this.#ended) this.#cancel(this);
  }

  /**
   * The run's events from its `user_message` on, each once; one reader. Events that nobody reads are kept until the
   * run is let go.
   *
   * @returns {AsyncGenerator<EventFrame, void, void>}
   */
  async *[Symbol.asyncIterator]() {
    for (;;) {
      const event = this.#waiting.shift();
      if (event) {
        yield event;
      } else if (this.#failure) {
        throw this.#failure;
      } else if (this.#ended) {
        return;
      } else {
        await new Promise((/** @type {(value: void) => void} */ wake) => this.#wakers.push(wake));
      }
    }
  }

  /** For the client. @param {Accepted} frame */
  _accept(frame) {
    this.runId = frame.run_id;
    this.threadId = frame.thread_id;
    this.#accepted.resolve(frame);
  }

  /** For the client. @param {EventFrame} event */
  _push(event) {
    this.#waiting.push(event);
    if (event.type === 'agent_completed') {
      this.#ended = true;
      this.#completed.resolve(event);
    }
    this.#wake();
  }

  /** For the client. @param {Error} error */
  _fail(error) {
    if (this.#ended) return;
    this.#ended = true;
    this.#failure = error;
    this.#accepted.reject(error);
    this.#completed.reject(error);
    this.#wake();
  }

  #wake() {
    for (const wake of this.#wakers.splice(0)) wake();
  }
}

/**
 * @template T
 * @typedef {{ promise: Promise<T>, resolve: (value: T) => void, reject: (error: Error) => void }} PromiseWithResolversLike
 */

/**
 * A promise that somebody else settles. A rejection that nobody looks at is not an unhandled one: there are three ways
 * to learn of it, and a program uses one.
 *
 * @template T
 * @returns {PromiseWithResolversLike<T>}
 */
function withResolvers() {
  /** @type {(value: T) => void} */
  let resolve = () => {};
  /** @type {(error: Error) => void} */
  let reject = () => {};
  const promise = new Promise((/** @type {(value: T) => void} */ yes, no) => {
    resolve = yes;
    reject = no;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}
