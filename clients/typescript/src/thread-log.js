/**
 * A client's position in one thread's log: which events are new, which it has, and where there is a hole.
 *
 * @typedef {import('../types/frames.js').EventFrame} EventFrame
 *
 * ```text
 *             seq = position + 1            a hole that only history can fill
 *   live ──────────────────────▶ live    live ─────────────────────▶ filling
 *        seq ≤ position: dropped            live events are kept; history, then they, then live
 * ```
 */
export class ThreadLog {
  /** Events that may wait while history is read; beyond, the oldest go, and are read again. */
  static MOST_KEPT = 10_000;

  /** @type {Map<number, EventFrame> | null} */
  #kept = null;

  /**
   * @param {string} id
   * @param {{ position?: number, epoch?: string }} [from] Where a client that was here before left off.
   */
  constructor(id, { position = 0, epoch } = {}) {
    /** The thread. @type {string} */
    this.id = id;
    /** `seq` of the last event handed on; 0 before the first. @type {number} */
    this.position = position;
    /** The life of the log that the position counts in, once known. @type {string | undefined} */
    this.epoch = epoch;
  }

  /** Whether history is being read. */
  get filling() {
    return this.#kept !== null;
  }

  /**
   * Judges an event, and moves on if it is the next one.
   *
   * @param {EventFrame} event
   * @returns {'next' | 'known' | 'hole' | 'kept'}
   */
  take(event) {
    if (event.seq <= this.position) return 'known';
    if (this.#kept) {
      this.#keep(event);
      return 'kept';
    }
    if (event.seq > this.position + 1) return 'hole';
    this.position = event.seq;
    return 'next';
  }

  /** From now on events wait until {@link filled} says that history has been read. */
  fill() {
    this.#kept ??= new Map();
  }

  /**
   * One page of history: those that were not known, in order.
   *
   * @param {EventFrame[]} events Ordered by `seq`.
   * @returns {EventFrame[]}
   */
  page(events) {
    const fresh = events.filter((event) => event.seq > this.position);
    const last = fresh.at(-1);
    if (last) this.position = last.seq;
    return fresh;
  }

  /**
   * History has been read: the events that waited and follow it.
   *
   * @returns {{ events: EventFrame[], hole: boolean }} `hole`: something is still missing before what waited.
   */
  filled() {
    const kept = [...(this.#kept?.values() ?? [])].sort((a, b) => a.seq - b.seq);
    this.#kept = null;
    /** @type {EventFrame[]} */
    const events = [];
    let hole = false;
    for (const event of kept) {
      const verdict = this.take(event);
      if (verdict === 'next') events.push(event);
      if (verdict === 'hole') hole = true;
    }
    return { events, hole };
  }

  /**
   * History cannot be had: what lies before `position` is given up.
   *
   * @param {number} position
   */
  skipTo(position) {
    this.position = Math.max(this.position, position);
  }

  /** Another life of the log has begun: positions of the last one mean nothing in it. */
  restart() {
    this.position = 0;
    this.#kept = null;
  }

  /** @param {EventFrame} event */
  #keep(event) {
    const kept = /** @type {Map<number, EventFrame>} */ (this.#kept);
    kept.set(event.seq, event);
    if (kept.size > ThreadLog.MOST_KEPT) kept.delete(/** @type {number} */ (kept.keys().next().value));
  }
}
