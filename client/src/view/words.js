// @ts-check
/** English texts for the reader: the state of the connection, and who is typing. `<ChatRoom>` accepts other texts. */

import { CloseCode } from "../close-codes.js";

/** A shorter wait, ms, needs no countdown: it ends before anyone has read it. */
const MIN_COUNTDOWN_MS = 2_000;

/**
 * @typedef {import("../room-socket.js").StateEvent} StateEvent
 *
 * `opening`: the first attempt, or one without a wait. `returning`: the server announced that it will be back.
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
 * Whether a button to connect at once makes sense.
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
