export class AgentHostClient {
    /** @param {Options} options */
    constructor(options: Options);
    /** @returns {State} */
    get state(): State;
    /** The last welcome. @returns {Welcome | null} */
    get welcome(): Welcome | null;
    /** The service as the host last told it. @returns {Service | null} */
    get service(): Service | null;
    /**
     * Connects, and stays connected until `close()`. Resolves with the first welcome; tries again meanwhile. Rejects
     * only when it cannot work without a change.
     *
     * @returns {Promise<Welcome>}
     */
    connect(): Promise<Welcome>;
    /**
     * Sends a message, now or as soon as there is a connection.
     *
     * @param {string} content
     * @param {{ thread?: string, agent?: string, metadata?: Record<string, unknown>, id?: string }} [more] `id`: the
     *   idempotency key, where the program has its own.
     * @returns {Run}
     */
    send(content: string, { thread, agent, metadata, id }?: {
        thread?: string;
        agent?: string;
        metadata?: Record<string, unknown>;
        id?: string;
    }): Run;
    /**
     * Answers the question with which a run ended (`input_required`): a new run.
     *
     * @param {{ run: string, interrupt: string, response: unknown, id?: string }} answer
     * @returns {Run}
     */
    answer({ run, interrupt, response, id }: {
        run: string;
        interrupt: string;
        response: unknown;
        id?: string;
    }): Run;
    /**
     * Follows a thread, from after a position. Sending to a thread follows it, too.
     *
     * @param {string} thread
     * @param {{ after?: number, epoch?: string }} [from] Where a client that was here before left off: `position`.
     */
    subscribe(thread: string, { after, epoch }?: {
        after?: number;
        epoch?: string;
    }): void;
    /** @param {string} thread */
    unsubscribe(thread: string): void;
    /**
     * Where this client stands in a thread: to be kept, and given to `subscribe` by the next one.
     *
     * @param {string} thread
     * @returns {{ after: number, epoch: string | undefined } | undefined}
     */
    position(thread: string): {
        after: number;
        epoch: string | undefined;
    } | undefined;
    /** Closes for good. What was not accepted and not completed is rejected: `client.closed`. */
    close(): void;
    /**
     * @template {keyof Listeners} Name
     * @param {Name} name
     * @param {Listeners[Name]} listener
     * @returns {() => void} Listens no more.
     */
    on<Name extends keyof Listeners>(name: Name, listener: Listeners[Name]): () => void;
    #private;
}
export type ServerFrame = import("../types/frames.js").ServerFrame;
export type ClientFrame = import("../types/frames.js").ClientFrame;
export type EventFrame = import("../types/frames.js").EventFrame;
export type Welcome = import("../types/frames.js").Welcome;
/**
 * `token`: a JWT, sent as a subprotocol
 * entry and used for `auth_refresh`; `ticket`: a one-time ticket, used in its place to connect.
 */
export type Credential = {
    token: string;
} | {
    ticket: string;
    token?: string;
};
/**
 * Why one is asked for.
 */
export type CredentialReason = "connect" | "expired" | "expiring";
/**
 * `open`: the welcome came; `waiting`: for the
 * next try; `closed`: by `close()`, or for good.
 */
export type State = "idle" | "connecting" | "open" | "waiting" | "closed";
export type Options = {
    /**
     * The host's socket: `ws://host/ws` or `wss://host/ws`.
     */
    url: string;
    /**
     * Asked before each connection, and
     * before a token expires. If it throws, that is a failed try; an `AgentHostError` with status 401 or 403 ends the client.
     */
    credential: (why: CredentialReason) => Credential | Promise<Credential>;
    /**
     * Reads what the socket cannot replay any more: see `restHistory`. Without it such a hole is reported and skipped.
     */
    history?: ((thread: string, after: number) => Promise<{
        events: EventFrame[];
        next_after: number | null;
    }>) | undefined;
    /**
     * Where the platform has none.
     */
    WebSocket?: {
        new (url: string | URL, protocols?: string | string[]): WebSocket;
        prototype: WebSocket;
        readonly CONNECTING: 0;
        readonly OPEN: 1;
        readonly CLOSING: 2;
        readonly CLOSED: 3;
    } | undefined;
    /**
     * Messages that may wait to be accepted (default 100); beyond, `send` throws.
     */
    maxPending?: number | undefined;
    /**
     * From the start of a try to the welcome (default 10,000).
     */
    connectWithinMs?: number | undefined;
    /**
     * After so long without a frame the host is asked for a sign of life
     * (default 15,000).
     */
    silenceMs?: number | undefined;
    /**
     * And has so long to give it, before the client connects again (default 8,000).
     */
    pongWithinMs?: number | undefined;
    /**
     * Milliseconds before try number `attempt` + 1.
     */
    backoff?: ((attempt: number) => number) | undefined;
};
/**
 * What the service can do.
 */
export type Service = Pick<Welcome["service"], "level" | "reason" | "missing">;
/**
 * What a program may listen to.
 */
export type Listeners = {
    state: (state: State) => void;
    welcome: (welcome: Welcome) => void;
    /**
     * It changed, or a connection began.
     */
    service: (service: Service) => void;
    /**
     * Each event of each followed thread, in order, once.
     */
    event: (event: EventFrame) => void;
    /**
     * What the
     * socket could not replay: `filled` from history, or lost to this client.
     */
    gap: (gap: {
        thread: string;
        reason: string;
        from: number;
        to: number;
        filled: boolean;
    }) => void;
    /**
     * A refusal that belongs to no message, or a failed connection.
     */
    error: (error: AgentHostError) => void;
};
/**
 * A message on its way to being accepted.
 */
export type Pending = {
    frame: ClientFrame & {
        id: string;
    };
    run: Run;
    /**
     * Not to be sent before its pause is over.
     */
    held: boolean;
};
import { Run } from './run.js';
import { AgentHostError } from './errors.js';
