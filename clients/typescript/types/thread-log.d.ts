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
    static MOST_KEPT: number;
    /**
     * @param {string} id
     * @param {{ position?: number, epoch?: string }} [from] Where a client that was here before left off.
     */
    constructor(id: string, { position, epoch }?: {
        position?: number;
        epoch?: string;
    });
    /** The thread. @type {string} */
    id: string;
    /** `seq` of the last event handed on; 0 before the first. @type {number} */
    position: number;
    /** The life of the log that the position counts in, once known. @type {string | undefined} */
    epoch: string | undefined;
    /** Whether history is being read. */
    get filling(): boolean;
    /**
     * Judges an event, and moves on if it is the next one.
     *
     * @param {EventFrame} event
     * @returns {'next' | 'known' | 'hole' | 'kept'}
     */
    take(event: EventFrame): "next" | "known" | "hole" | "kept";
    /** From now on events wait until {@link filled} says that history has been read. */
    fill(): void;
    /**
     * One page of history: those that were not known, in order.
     *
     * @param {EventFrame[]} events Ordered by `seq`.
     * @returns {EventFrame[]}
     */
    page(events: EventFrame[]): EventFrame[];
    /**
     * History has been read: the events that waited and follow it.
     *
     * @returns {{ events: EventFrame[], hole: boolean }} `hole`: something is still missing before what waited.
     */
    filled(): {
        events: EventFrame[];
        hole: boolean;
    };
    /**
     * History cannot be had: what lies before `position` is given up.
     *
     * @param {number} position
     */
    skipTo(position: number): void;
    /** Another life of the log has begun: positions of the last one mean nothing in it. */
    restart(): void;
    #private;
}
/**
 * ```text
 *             seq = position + 1            a hole that only history can fill
 *   live ──────────────────────▶ live    live ─────────────────────▶ filling
 *        seq ≤ position: dropped            live events are kept; history, then they, then live
 * ```
 */
export type EventFrame = import("../types/frames.js").EventFrame;
