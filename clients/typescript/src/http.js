/** What goes over HTTP beside the socket: one-time tickets, and history that a socket cannot replay any more. */
import { AgentHostError } from './errors.js';

/** @typedef {import('../types/frames.js').EventFrame} EventFrame */

/**
 * A credential for browsers: fetches a one-time ticket for each connection, so that no token stands in a URL or in a
 * header that proxies log.
 *
 * @param {{ url: string, token: () => string | Promise<string>, fetch?: typeof fetch }} from `url`: the host's HTTP
 *   address; `token`: a valid token, asked for each time.
 * @returns {() => Promise<{ ticket: string, token: string }>}
 */
export function ticketCredential({ url, token, fetch = globalThis.fetch }) {
  return async () => {
    const jwt = await token();
    const answer = await request(fetch, new URL('/v1/ws-tickets', url), jwt, { method: 'POST' });
    const { ticket } = /** @type {{ ticket: string }} */ (await answer.json());
    return { ticket, token: jwt };
  };
}

/**
 * Reads a thread's log over HTTP, for a client that the socket could not bring back to where it was.
 *
 * @param {{ url: string, token: () => string | Promise<string>, limit?: number, fetch?: typeof fetch }} from
 * @returns {(thread: string, after: number) => Promise<{ events: EventFrame[], next_after: number | null }>}
 */
export function restHistory({ url, token, limit = 500, fetch = globalThis.fetch }) {
  return async (thread, after) => {
    const page = new URL(`/v1/threads/${encodeURIComponent(thread)}/events`, url);
    page.search = new URLSearchParams({ after: String(after), limit: String(limit) }).toString();
    const answer = await request(fetch, page, await token(), { method: 'GET' });
    return /** @type {{ events: EventFrame[], next_after: number | null }} */ (await answer.json());
  };
}

/**
 * @param {typeof fetch} fetch
 * @param {URL} url
 * @param {string} token
 * @param {RequestInit} init
 */
async function request(fetch, url, token, init) {
  const answer = await fetch(url, { ...init, headers: { authorization: `Bearer ${token}` } });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new AgentHostError(problem.code ?? 'client.refused', problem.detail ?? `${url.pathname}: HTTP ${answer.status}`, {
    status: answer.status,
    retryable: answer.status === 429 || answer.status >= 500,
  });
}
