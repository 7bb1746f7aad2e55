/** What can go wrong, as one type with the host's own stable codes. */
export class AgentHostError extends Error {
  /**
   * @param {string} code A code of the host (`docs/codes.md`), or one of the client: `client.closed`,
   *   `client.outbox_full`, `client.history_lost`, `client.cancelled`, `client.credential`, `client.refused`.
   * @param {string} message What happened, and what to do.
   * @param {{ retryable?: boolean, status?: number, closeCode?: number, cause?: unknown }} [more]
   */
  constructor(code, message, more = {}) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = 'AgentHostError';
    /** Stable. @type {string} */
    this.code = code;
    /** Whether the same may work later. @type {boolean} */
    this.retryable = more.retryable ?? false;
    /** HTTP status, where there was one. @type {number | undefined} */
    this.status = more.status;
    /** The WebSocket's close code, where one ended it. @type {number | undefined} */
    this.closeCode = more.closeCode;
  }
}
