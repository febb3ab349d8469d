// @ts-check
/** What a reader is told, in words: of the connection, and of who types. English; the React component takes others. */

import { CloseCode } from "../close-codes.js";

/** A wait shorter than this, ms, is over before it is read. */
const MIN_COUNTDOWN_MS = 2_000;

/**
 * @typedef {import("../room-socket.js").StateEvent} StateEvent
 *
 * `opening`: for the first time, or at once. `returning`: the server said that it would be back.
 * @typedef {"open" | "opening" | "returning" | "waiting" | "forbidden" | "signed-out" | "closed"} ConnectionStatus
 */

/** @type {Readonly<Record<ConnectionStatus, string>>} */
export const CONNECTION_TEXTS = Object.freeze({
  open: "Connected",
  opening: "Connecting",
  returning: "Back in a moment",
  waiting: "Reconnecting",
  forbidden: "Not allowed here",
  "signed-out": "Signed out",
  closed: "Disconnected",
});

/**
 * @param {Pick<StateEvent, "state" | "close">} event
 * @returns {ConnectionStatus}
 */
export function connectionStatusOf({ state, close }) {
  switch (state) {
    case "open":
      return "open";
    case "connecting":
      return "opening";
    case "waiting":
      return close?.code === CloseCode.goingAway ? "returning" : "waiting";
    case "closed":
      if (close?.code === CloseCode.forbidden) return "forbidden";
      return close?.code === CloseCode.unauthorized ? "signed-out" : "closed";
  }
}

/**
 * Whether the reader can hurry the connection on.
 *
 * @param {Pick<StateEvent, "state" | "retryAt">} event
 * @param {number} now
 */
export function canRetryNow({ state, retryAt }, now) {
  return state === "closed" || (state === "waiting" && retryAt !== undefined && retryAt - now > MIN_COUNTDOWN_MS);
}

/** @param {readonly string[]} names */
export function typingText(names) {
  if (names.length > 3) return "Several people are typing";
  const last = names.at(-1);
  const others = names.slice(0, -1).join(", ");
  return others === "" ? `${last} is typing` : `${others} and ${last} are typing`;
}
