/**
 * One message and its run, as the program that sent it holds it: accepted, its events, its end.
 *
 * @typedef {import('../types/frames.js').EventFrame} EventFrame
 * @typedef {import('../types/frames.js').AgentCompleted} AgentCompleted
 * @typedef {import('../types/frames.js').Accepted} Accepted
 */
export class Run {
    /**
     * Made by the client's `send` and `answer`.
     *
     * @param {string} id The message's idempotency key.
     * @param {(run: Run) => void} cancel
     */
    constructor(id: string, cancel: (run: Run) => void);
    /** The message's idempotency key. @type {string} */
    id: string;
    /** Once accepted. @type {string | undefined} */
    runId: string | undefined;
    /** Once accepted. @type {string | undefined} */
    threadId: string | undefined;
    /** Resolves when the host has made the message durable; rejects if it refused it. @returns {Promise<Accepted>} */
    get accepted(): Promise<Accepted>;
    /**
     * Resolves with the run's last event, whatever its status; rejects if the message was refused, or if what became
     * of it cannot be known any more. @returns {Promise<AgentCompleted>}
     */
    get completed(): Promise<AgentCompleted>;
    /** Whether its end is known. */
    get ended(): boolean;
    /** Asks the host to stop the run, now or as soon as it is accepted. It ends `cancelled`, or as it was about to. */
    cancel(): void;
    /** For the client. @param {Accepted} frame */
    _accept(frame: Accepted): void;
    /** For the client. @param {EventFrame} event */
    _push(event: EventFrame): void;
    /** For the client. @param {Error} error */
    _fail(error: Error): void;
    /**
     * The run's events from its `user_message` on, each once; one reader. Events that nobody reads are kept until the
     * run is let go.
     *
     * @returns {AsyncGenerator<EventFrame, void, void>}
     */
    [Symbol.asyncIterator](): AsyncGenerator<EventFrame, void, void>;
    #private;
}
export type PromiseWithResolversLike<T> = {
    promise: Promise<T>;
    resolve: (value: T) => void;
    reject: (error: Error) => void;
};
/**
 * One message and its run, as the program that sent it holds it: accepted, its events, its end.
 */
export type EventFrame = import("../types/frames.js").EventFrame;
/**
 * One message and its run, as the program that sent it holds it: accepted, its events, its end.
 */
export type AgentCompleted = import("../types/frames.js").AgentCompleted;
/**
 * One message and its run, as the program that sent it holds it: accepted, its events, its end.
 */
export type Accepted = import("../types/frames.js").Accepted;
