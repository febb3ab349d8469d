// @ts-check
/** Turns a refused request into the error frame that a WebSocket would have received. */

import { FORBIDDEN, MUTED } from "./permissions.js";
import { problemText } from "./protocol.js";

/** @typedef {import("./protocol.js").ErrorFrame} ErrorFrame */

/**
 * @param {import("./post-queue.js").Answer} answer With a status of 400 or above.
 * @param {string} [clientId] Of the message that was refused.
 * @returns {ErrorFrame}
 */
export function errorOfAnswer({ status, body }, clientId) {
  const message = problemText(body) ?? `the server answered ${status}`;
  const named = clientId === undefined ? {} : { clientId };
  const seconds = secondsMuted(status, body);
  if (seconds !== undefined) return { type: "error", code: MUTED, message, seconds, ...named };
  return { type: "error", code: isForbidden(status, body) ? FORBIDDEN : codeOf(status), message, ...named };
}

/**
 * Whether the user lacks a permission. A proxy may answer 403 for reasons of its own.
 *
 * @param {number} status
 * @param {unknown} body
 */
function isForbidden(status, body) {
  return status === 403 && typeof Object(body).permission === "string";
}

/**
 * @param {number} status
 * @param {unknown} body
 * @returns {number | undefined} `undefined` if this is no answer to a muted user.
 */
function secondsMuted(status, body) {
  const { code, seconds } = Object(body);
  return status === 403 && code === MUTED && Number.isSafeInteger(seconds) && seconds > 0 ? seconds : undefined;
}

/** @param {number} status */
function codeOf(status) {
  switch (status) {
    case 400:
      return "bad_message";
    case 413:
      return "too_long";
    case 422:
      return "key_reused";
    case 429:
      return "rate_limited";
    case 500:
      return "room_failed";
    default:
      return `http_${status}`;
  }
}
