// @ts-check
/**
 * What a close means for the next attempt. Pure functions over a code and a reason: the caller owns the timers and
 * remembers what was refused.
 */

export const CloseCode = Object.freeze({
  goingAway: 1001,
  /** Never sent: how this client names a connection over which something came that the protocol does not allow. */
  protocolError: 1002,
  /** Never sent: what a browser reports when the connection was lost without a close, or never came to be. */
  lost: 1006,
  policy: 1008,
  messageTooBig: 1009,
  roomFailed: 1011,
  overloaded: 1013,
  badFirstFrame: 4400,
  unauthorized: 4401,
  forbidden: 4403,
  idle: 4408,
  rateLimited: 4429,
});

/** The longest hint that is believed, ms: beyond an hour it is a mistake, and timers overflow at 24 days. */
const LONGEST_HINT_MS = 3_600_000;

/**
 * @typedef {{ code: number, reason: string }} Close
 *
 * `come-back`: try again after the hinted delay or the backoff.
 * `ask-again`: try again at once, with fresh credentials.
 * `stop`: the same attempt would be refused again.
 * @typedef {"come-back" | "ask-again" | "stop"} Next
 */

/**
 * @param {number} code
 * @param {boolean} refusedBefore Credentials were refused since the last stable connection.
 * @returns {Next}
 */
export function afterClose(code, refusedBefore) {
  switch (code) {
    case CloseCode.forbidden:
      return "stop";
    case CloseCode.unauthorized:
      return refusedBefore ? "stop" : "ask-again";
    default:
      return "come-back";
  }
}

/**
 * The delay that a server hints with `retry-after=SECONDS` in its close reason.
 *
 * @param {string} reason
 * @returns {number | undefined} ms
 */
export function hintedDelay(reason) {
  const hint = /\bretry-after=(\d+(?:\.\d+)?)/i.exec(reason);
  return hint ? Math.min(LONGEST_HINT_MS, Number(hint[1]) * 1000) : undefined;
}

/**
 * The close that says the same as an HTTP status. A browser hides the status of a refused upgrade, so it is asked
 * for over plain HTTP and then handled like any other close.
 *
 * @param {number} status
 * @param {string | null} retryAfter The header of that name, where it holds seconds.
 * @returns {Close | undefined} Nothing, where the status does not explain a refusal.
 */
export function closeOfStatus(status, retryAfter) {
  const reason = retryAfter && /^\d+$/.test(retryAfter) ? `HTTP ${status} retry-after=${retryAfter}` : `HTTP ${status}`;
  switch (status) {
    case 401:
      return { code: CloseCode.unauthorized, reason };
    case 403:
      return { code: CloseCode.forbidden, reason };
    case 429:
      return { code: CloseCode.rateLimited, reason };
    case 503:
      return { code: CloseCode.overloaded, reason };
    default:
      return undefined;
  }
}
