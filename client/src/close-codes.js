// @ts-check
/**
 * Decides what a close means for the next attempt. Pure functions over a code and a reason: the caller has the timers
 * and remembers which credentials were refused.
 */

export const CloseCode = Object.freeze({
  goingAway: 1001,
  /** Never sent. This client's code for a connection on which the server broke the protocol. */
  protocolError: 1002,
  /** Never sent. A browser reports it for a connection that was lost without a close, or never opened. */
  lost: 1006,
  policy: 1008,
  messageTooBig: 1009,
  roomFailed: 1011,
  /** Another server has the room now. */
  roomMoved: 1012,
  overloaded: 1013,
  badFirstFrame: 4400,
  unauthorized: 4401,
  forbidden: 4403,
  idle: 4408,
  rateLimited: 4429,
});

const DECODER = new TextDecoder("utf-8", { ignoreBOM: true });

/** The longest reason, bytes of UTF-8: a control frame holds 125 bytes, of which the code takes two. */
const MAX_REASON_BYTES = 123;

/** The longest hint that is used, ms: more than an hour must be a mistake, and timers overflow at 24 days. */
const MAX_HINT_MS = 3_600_000;

/**
 * @typedef {{ code: number, reason: string }} Close
 *
 * `reconnect`: try again after the hinted delay or the backoff.
 * `refresh-credentials`: try again at once, with fresh credentials.
 * `stop`: the same attempt would be refused again.
 * @typedef {"reconnect" | "refresh-credentials" | "stop"} Next
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
      return refusedBefore ? "stop" : "refresh-credentials";
    default:
      return "reconnect";
  }
}

/**
 * The delay that a server hints with `retry-after=SECONDS` in its close reason. It never shortens a wait: see
 * `waitAfter` of `backoff.js`.
 *
 * @param {string} reason
 * @returns {number | undefined} ms; `undefined` for a malformed hint.
 */
export function hintedDelay(reason) {
  const hint = /(?:^|[^\w-])retry-after=([^\s,;]*)/i.exec(reason)?.[1];
  const seconds = hint === undefined ? undefined : /^(\d+(?:\.\d+)?)\.?$/.exec(hint)?.[1];
  return seconds === undefined ? undefined : Math.min(MAX_HINT_MS, Number(seconds) * 1000);
}

/**
 * The close that means the same as an HTTP status. A browser hides the status of a refused upgrade, so the client asks
 * over HTTP and handles the answer like a close.
 *
 * @param {number} status
 * @param {string | null} retryAfter The `Retry-After` header; used if it is in seconds.
 * @returns {Close | undefined} `undefined` if the status does not explain a refusal.
 */
export function closeFromStatus(status, retryAfter) {
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

/**
 * Whether an application may close a WebSocket with this code: a browser throws on any other.
 *
 * @param {number} code
 */
export function mayCloseWith(code) {
  return code === 1000 || (Number.isInteger(code) && code >= 3000 && code <= 4999);
}

/**
 * The part of a reason that fits into a close frame, cut between two characters.
 *
 * @param {string} reason
 */
export function fitReason(reason) {
  const bytes = new TextEncoder().encode(reason);
  if (bytes.length <= MAX_REASON_BYTES) return DECODER.decode(bytes);
  let end = MAX_REASON_BYTES;
  // A byte that begins with the bits 10 continues a character.
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return DECODER.decode(bytes.subarray(0, end));
}
