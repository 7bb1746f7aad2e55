/** What can go wrong, as one type with the host's own stable codes. */
export class AgentHostError extends Error {
    /**
     * @param {string} code A code of the host (`docs/codes.md`), or one of the client: `client.closed`,
     *   `client.outbox_full`, `client.history_lost`, `client.cancelled`, `client.credential`, `client.refused`.
     * @param {string} message What happened, and what to do.
     * @param {{ retryable?: boolean, status?: number, closeCode?: number, cause?: unknown }} [more]
     */
    constructor(code: string, message: string, more?: {
        retryable?: boolean;
        status?: number;
        closeCode?: number;
        cause?: unknown;
    });
    /** Stable. @type {string} */
    code: string;
    /** Whether the same may work later. @type {boolean} */
    retryable: boolean;
    /** HTTP status, where there was one. @type {number | undefined} */
    status: number | undefined;
    /** The WebSocket's close code, where one ended it. @type {number | undefined} */
    closeCode: number | undefined;
}
