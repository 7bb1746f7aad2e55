/** @typedef {import('../types/frames.js').EventFrame} EventFrame */
/**
 * A credential for browsers: fetches a one-time ticket for each connection, so that no token stands in a URL or in a
 * header that proxies log.
 *
 * @param {{ url: string, token: () => string | Promise<string>, fetch?: typeof fetch }} from `url`: the host's HTTP
 *   address; `token`: a valid token, asked for each time.
 * @returns {() => Promise<{ ticket: string, token: string }>}
 */
export function ticketCredential({ url, token, fetch }: {
    url: string;
    token: () => string | Promise<string>;
    fetch?: typeof globalThis.fetch;
}): () => Promise<{
    ticket: string;
    token: string;
}>;
/**
 * Reads a thread's log over HTTP, for a client that the socket could not bring back to where it was.
 *
 * @param {{ url: string, token: () => string | Promise<string>, limit?: number, fetch?: typeof fetch }} from
 * @returns {(thread: string, after: number) => Promise<{ events: EventFrame[], next_after: number | null }>}
 */
export function restHistory({ url, token, limit, fetch }: {
    url: string;
    token: () => string | Promise<string>;
    limit?: number;
    fetch?: typeof globalThis.fetch;
}): (thread: string, after: number) => Promise<{
    events: EventFrame[];
    next_after: number | null;
}>;
export type EventFrame = import("../types/frames.js").EventFrame;
