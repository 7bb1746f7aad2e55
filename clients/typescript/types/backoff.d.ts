/**
 * How long to wait before the next try to connect: exponential with full jitter, so that the clients of a host that
 * comes back do not come back all at once.
 *
 * @param {number} attempt Tries that failed in a row; 1 after the first.
 * @param {{ first?: number, most?: number, random?: () => number }} [policy] Milliseconds: the first ceiling (default
 *   500) and the highest (default 30,000); `random` answers from 0 up to 1.
 * @returns {number} Milliseconds; never below 50, so that a host that closes at once is not spun on.
 */
export function backoff(attempt: number, { first, most, random }?: {
    first?: number;
    most?: number;
    random?: () => number;
}): number;
