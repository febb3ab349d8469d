// @ts-check
/**
 * Decides how to connect: by WebSocket, or by an event stream and one POST for each message. Pure functions over plain
 * values. To a page a lost network, a restarting server and a proxy that blocks WebSockets look the same. The
 * difference: behind such a proxy the server still answers over HTTP, again and again.
 */

import { CloseCode } from "./close-codes.js";

/**
 * How long WebSockets are not tried after events got through in their place, ms. The first reconnect after that tries
 * one again, because the user may be on a better network or the decision was wrong.
 */
export const BLOCKED_MS = 5 * 60_000;

/** After this many blocked attempts in a row events are tried. */
const EVIDENCE = 1;

/** The same after a WebSocket has worked: one failure proves less then. */
const EVIDENCE_AFTER_SUCCESS = 3;

/**
 * @typedef {"websocket" | "events"} Transport
 * @typedef {"auto" | Transport} TransportChoice `auto`: a WebSocket, or events where WebSockets are blocked.
 */

/**
 * @param {Object} known
 * @param {TransportChoice} known.wanted
 * @param {boolean} known.hasWebSocket The environment has a `WebSocket`.
 * @param {"unknown" | "given" | "absent"} known.events `unknown`: not configured. `absent`: the server has none.
 * @param {boolean} known.isTrial There is enough evidence, and this attempt tests whether events get through.
 * @param {number} known.blockedUntil
 * @param {number} known.now On the same clock as `blockedUntil`.
 * @returns {Transport}
 */
export function nextTransport({ wanted, hasWebSocket, events, isTrial, blockedUntil, now }) {
  if (events === "unknown" || wanted === "websocket") return "websocket";
  if (wanted === "events" || !hasWebSocket) return "events";
  if (events === "absent") return "websocket";
  return isTrial || now < blockedUntil ? "events" : "websocket";
}

/**
 * Whether to ask over HTTP why a WebSocket failed. A first failure is usually a lost network, unless it ended in a
 * timeout, as behind a proxy that swallows frames.
 *
 * @param {Pick<import("./connection.js").Ending, "code" | "opened" | "received" | "cause">} ending
 * @param {number} failures How many failed before it.
 * @param {boolean} canFallBack
 */
export function shouldExplain({ code, opened, received, cause }, failures, canFallBack) {
  if (!canFallBack) return !opened && failures > 0;
  return !received && code === CloseCode.lost && (failures > 0 || cause !== "closed");
}

/**
 * @param {number} blockedEvidence How often in a row a WebSocket received nothing while the server answered over HTTP.
 * @param {boolean} worked A WebSocket has worked before.
 */
export function isBlocked(blockedEvidence, worked) {
  return blockedEvidence >= (worked ? EVIDENCE_AFTER_SUCCESS : EVIDENCE);
}
