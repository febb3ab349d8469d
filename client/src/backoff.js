// @ts-check
/**
 * The wait before the next attempt: exponential backoff with full jitter. The whole wait is random, because after a
 * restart all pages start to count at the same instant, and only randomness spreads them.
 */

/** The longest first wait, ms: short, because most losses are over at once. */
export const FIRST_CEILING_MS = 500;

/** The longest wait, ms: a page that stays open overnight still returns within half a minute. */
export const LAST_CEILING_MS = 30_000;

/**
 * @param {number} failures How many attempts have failed in a row, from 0.
 * @param {number} random From 0 to 1.
 * @param {number} [first] The longest first wait, ms.
 * @param {number} [last] The longest wait, ms.
 * @returns {number} ms
 */
export function backoffDelay(failures, random, first = FIRST_CEILING_MS, last = LAST_CEILING_MS) {
  return Math.round(random * Math.min(last, first * 2 ** failures));
}

/**
 * The wait before the next attempt, with the delay that the server may have hinted. A hint never shortens the backoff:
 * a server that always refuses with `retry-after=0` must not cause a busy loop.
 *
 * @param {number} backoff ms
 * @param {number | undefined} hint ms
 * @returns {number} ms
 */
export function waitAfter(backoff, hint) {
  return Math.max(backoff, hint ?? 0);
}
