export class Socket {
    /**
     * Begins to connect.
     *
     * @param {object} how
     * @param {string} how.url `ws://` or `wss://`.
     * @param {{ token?: string, ticket?: string }} how.credential
     * @param {typeof WebSocket} how.WebSocket
     * @param {{ welcomeMs: number, silenceMs: number, pongMs: number }} how.patience Until the welcome; with silence,
     *   before the host is asked for a sign of life; for that sign.
     * @param {(frame: ServerFrame) => void} how.onFrame Not called after the end.
     * @param {(end: End) => void} how.onEnd Called once.
     */
    constructor({ url, credential, WebSocket, patience, onFrame, onEnd }: {
        url: string;
        credential: {
            token?: string;
            ticket?: string;
        };
        WebSocket: typeof globalThis.WebSocket;
        patience: {
            welcomeMs: number;
            silenceMs: number;
            pongMs: number;
        };
        onFrame: (frame: ServerFrame) => void;
        onEnd: (end: End) => void;
    });
    /** @param {ClientFrame} frame Lost if the connection is over: the client sends again what matters. */
    send(frame: ClientFrame): void;
    /** Ends it, now: a network that is gone would let the handshake wait for minutes. */
    close(code?: number, reason?: string): void;
    #private;
}
/**
 * One WebSocket connection, from its credential to its end: which comes exactly once, whatever the network does.
 */
export type ServerFrame = import("../types/frames.js").ServerFrame;
/**
 * One WebSocket connection, from its credential to its end: which comes exactly once, whatever the network does.
 */
export type ClientFrame = import("../types/frames.js").ClientFrame;
/**
 * `code` 1006: cut, or refused before it opened.
 */
export type End = {
    code: number;
    reason: string;
    welcomed: boolean;
};
