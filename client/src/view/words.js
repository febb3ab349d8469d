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

/**
 * How long a moderator may mute a user with one click, in seconds. 0 ends a mute.
 *
 * @type {readonly { seconds: number, text: string }[]}
 */
export const MUTE_CHOICES = Object.freeze([
  { seconds: 10 * 60, text: "10 minutes" },
  { seconds: 60 * 60, text: "1 hour" },
  { seconds: 24 * 60 * 60, text: "1 day" },
  { seconds: 0, text: "End the mute" },
]);

/**
 * @param {number} until Unix milliseconds.
 * @param {string} [locale]
 */
export function mutedText(until, locale) {
  const end = new Date(until).toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });
  return `A moderator has muted you until ${end}. You can go on reading.`;
}

/** @param {readonly string[]} names */
export function typingText(names) {
  if (names.length > 3) return "Several people are typing";
  const last = names.at(-1);
  const others = names.slice(0, -1).join(", ");
  return others === "" ? `${last} is typing` : `${others} and ${last} are typing`;
}
