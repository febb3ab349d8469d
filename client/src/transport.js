// @ts-check
/**
 * Over what to connect: a WebSocket, or an event stream with a request for each thing that is said. Decided from plain
 * values. A lost network, a server that restarts and a proxy that blocks WebSockets look the same to a page; what tells
 * them apart is that behind the proxy the server still answers over HTTP, and that it does so again and again.
 */

import { CloseCode } from "./close-codes.js";

/**
 * How long WebSockets are left alone once events got through where they did not, ms. Who is taken to a better network
 * or was misjudged comes back to them with the first reconnect after that.
 */
export const BLOCKED_MS = 5 * 60_000;

/** How many attempts in a row must fail in this way before events are tried. */
const EVIDENCE = 1;

/** The same where a WebSocket has worked before: that says more than a single failure. */
const EVIDENCE_AFTER_SUCCESS = 3;

/**
 * @typedef {"websocket" | "events"} Transport
 * @typedef {"auto" | Transport} TransportChoice `auto`: a WebSocket, and events where those are blocked.
 */

/**
 * @param {Object} known
 * @param {TransportChoice} known.wanted
 * @param {boolean} known.hasWebSocket The environment knows them at all.
 * @param {"unknown" | "given" | "absent"} known.events `absent`: the server has said that there are none.
 * @param {boolean} known.isTrial There were signs enough, and this attempt is to show whether events get through.
 * @param {number} known.blockedUntil
 * @param {number} known.now The same clock as `blockedUntil`.
 * @returns {Transport}
 */
export function nextTransport({ wanted, hasWebSocket, events, isTrial, blockedUntil, now }) {
  if (events === "unknown" || wanted === "websocket") return "websocket";
  if (wanted === "events" || !hasWebSocket) return "events";
  if (events === "absent") return "websocket";
  return isTrial || now < blockedUntil ? "events" : "websocket";
}

/**
 * Whether to ask over HTTP why a WebSocket came to nothing. A first failure is mostly a network that was lost, unless it
 * took as long as a proxy that swallows everything.
 *
 * @param {Pick<import("./connection.js").Ending, "code" | "opened" | "heard" | "cause">} ending
 * @param {number} failures How many there were before it.
 * @param {boolean} canFallBack
 */
export function shouldExplain({ code, opened, heard, cause }, failures, canFallBack) {
  if (!canFallBack) return !opened && failures > 0;
  return !heard && code === CloseCode.lost && (failures > 0 || cause !== "closed");
}

/**
 * @param {number} blockedEvidence How often in a row nothing was heard over a WebSocket although the server answers over HTTP.
 * @param {boolean} worked A WebSocket got through before.
 */
export function isBlocked(blockedEvidence, worked) {
  return blockedEvidence >= (worked ? EVIDENCE_AFTER_SUCCESS : EVIDENCE);
}
