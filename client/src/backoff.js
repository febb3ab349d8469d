// @ts-check
/**
 * How long to wait before the next attempt: exponential, with full jitter. The whole span is random and not only its
 * end, because after a restart every page counts from the same instant, and only chance can spread them.
 */

/** The longest first wait, ms: short, since most losses are over at once. */
export const FIRST_CEILING_MS = 500;

/** The longest wait of all, ms: a page left open overnight still comes back within half a minute. */
export const LAST_CEILING_MS = 30_000;

/**
 * @param {number} failures How many attempts have failed in a row, from 0.
 * @param {number} random From 0 to 1.
 * @param {number} [first] The longest first wait, ms.
 * @param {number} [last] The longest wait of all, ms.
 * @returns {number} ms
 */
export function backoffDelay(failures, random, first = FIRST_CEILING_MS, last = LAST_CEILING_MS) {
  return Math.round(random * Math.min(last, first * 2 ** failures));
}

/**
 * The wait before the next attempt, where the server may have hinted one. The backoff is the least of it: a server that
 * says `retry-after=0` and refuses again, and again, is not asked without a pause.
 *
 * @param {number} backoff ms
 * @param {number | undefined} hint ms
 * @returns {number} ms
 */
export function waitAfter(backoff, hint) {
  return Math.max(backoff, hint ?? 0);
}
