/**
 * How long to wait before the next try to connect: exponential with full jitter, so that the clients of a host that
 * comes back do not come back all at once.
 *
 * @param {number} attempt Tries that failed in a row; 1 after the first.
 * @param {{ first?: number, most?: number, random?: () => number }} [policy] Milliseconds: the first ceiling (default
 *   500) and the highest (default 30,000); `random` answers from 0 up to 1.
 * @returns {number} Milliseconds; never below 50, so that a host that closes at once is not spun on.
 */
export function backoff(attempt, { first = 500, most = 30_000, random = Math.random } = {}) {
  // 2 ** 20 is above every ceiling in use, and keeps the product finite.
  const ceiling = Math.min(most, first * 2 ** Math.min(Math.max(attempt, 1) - 1, 20));
  return Math.max(50, Math.round(ceiling * random()));
}
