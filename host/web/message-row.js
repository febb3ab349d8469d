// @ts-check
/** One message as an element of the list. Text of users enters the document only as text. */

import { timeOf } from "/client/view/days.js";
import { withLinks } from "/client/view/links.js";
import { MUTE_CHOICES } from "/client/view/words.js";
import { colourOf, renderAvatar } from "./avatar.js";
import { make } from "./dom.js";

/**
 * @typedef {import("/client/index.js").ChatMessage} ChatMessage
 * @typedef {import("/client/index.js").PendingMessage} PendingMessage
 * @typedef {import("/client/view/lines.js").ShownMessage} ShownMessage
 * @typedef {{ retry: (clientId: string) => void, discard: (clientId: string) => void }} PendingActions
 *
 * @typedef {Object} ModeratorActions
 * @property {(message: ShownMessage) => void} remove
 * @property {(message: ShownMessage, seconds: number) => void} mute 0 seconds end a mute.
 */

/**
 * @param {{ userId: string, userName: string, content: string, timestamp: number }} message
 * @returns {HTMLLIElement}
 */
export function makeRow(message) {
  const avatar = make("span", { class: "avatar", hidden: true });
  renderAvatar(avatar, message);
  const name = make("bdi", { class: "name" }, message.userName);
  name.dataset.hue = colourOf(message.userId);
  const time = make("time", {}, timeOf(message.timestamp));
  time.dateTime = new Date(message.timestamp).toISOString();
  time.title = new Date(message.timestamp).toLocaleString();
  const bubble = make(
    "p",
    { class: "bubble" },
    ...withLinks(message.content).map(({ text, href }) => (href === undefined ? text : link(text, href))),
  );
  bubble.dir = "auto";
  return make("li", { class: "message" }, avatar, make("p", { class: "by" }, name, " ", time), bubble);
}

/**
 * @param {HTMLLIElement} row
 * @param {{ isOwn: boolean, opensGroup: boolean }} place
 */
export function placeRow(row, { isOwn, opensGroup }) {
  row.classList.toggle("own", isOwn);
  row.classList.toggle("opens", opensGroup);
}

/**
 * @param {HTMLLIElement} row
 * @param {PendingMessage | undefined} pending `undefined` once it is stored.
 * @param {PendingActions} actions
 */
export function markRow(row, pending, actions) {
  const state =
    pending === undefined ? "" : pending.state === "failed" ? "failed" : pending.sentAt ? "sending" : "queued";
  if ((row.dataset.state ?? "") === state) return;
  row.dataset.state = state;
  row.querySelector(".delivery")?.remove();
  if (pending) row.append(deliveryState(state, pending, actions));
}

/**
 * Shows that a message is deleted. Its text leaves the document.
 *
 * @param {HTMLLIElement} row
 * @param {ShownMessage} message
 */
export function markDeleted(row, { deleted }) {
  if (!deleted || row.dataset.deleted) return;
  row.dataset.deleted = "true";
  row.querySelector(".bubble")?.replaceWith(make("p", { class: "bubble deleted" }, "Message deleted"));
  row.querySelector(".remove")?.remove();
}

/**
 * The tools of a moderator, or none. The user's own message has no mute.
 *
 * @param {HTMLLIElement} row
 * @param {{ message: ShownMessage, isOwn: boolean }} line
 * @param {ModeratorActions | undefined} actions
 */
export function moderateRow(row, { message, isOwn }, actions) {
  const shown = row.querySelector(".moderation");
  if (!actions || message.id === undefined) return shown?.remove();
  if (shown) return;
  const tools = make("div", { class: "moderation" });
  if (!message.deleted) tools.append(deleteButton(row, message, actions));
  if (!isOwn) tools.append(muteChoice(message, actions));
  row.append(tools);
}

/**
 * @param {HTMLLIElement} row
 * @param {ShownMessage} message
 * @param {ModeratorActions} actions
 */
function deleteButton(row, message, { remove }) {
  const button = make("button", { class: "link-button remove" }, "Delete");
  button.type = "button";
  button.setAttribute("aria-label", `Delete the message of ${message.userName}`);
  button.addEventListener("click", () => {
    // The button goes, and the focus must not go with it.
    row.tabIndex = -1;
    row.focus({ preventScroll: true });
    remove(message);
  });
  return button;
}

/**
 * @param {ShownMessage} message
 * @param {ModeratorActions} actions
 */
function muteChoice(message, { mute }) {
  const summary = make("summary", { class: "link-button" }, "Mute");
  summary.setAttribute("aria-label", `Mute ${message.userName}`);
  const buttons = MUTE_CHOICES.map(({ seconds, text }) => {
    const button = make("button", { class: "link-button" }, text);
    button.type = "button";
    button.addEventListener("click", () => {
      choice.open = false;
      summary.focus({ preventScroll: true });
      mute(message, seconds);
    });
    return button;
  });
  const choice = make("details", {}, summary, ...buttons);
  return choice;
}

/**
 * @param {string} state
 * @param {PendingMessage} pending
 * @param {PendingActions} actions
 */
function deliveryState(state, { clientId, error }, { retry, discard }) {
  if (state === "sending") return make("p", { class: "delivery" }, "Sending…");
  if (state === "queued") return make("p", { class: "delivery" }, "Kept until the room is back");
  const again = make("button", { class: "link-button" }, "Try again");
  again.addEventListener("click", () => retry(clientId));
  const away = make("button", { class: "link-button" }, "Discard");
  away.addEventListener("click", () => discard(clientId));
  again.type = away.type = "button";
  return make("p", { class: "delivery" }, `Not sent: ${error?.message ?? "unknown reason"}. `, again, " ", away);
}

/**
 * @param {string} text
 * @param {string} href
 */
function link(text, href) {
  const link = make("a", {}, text);
  link.href = href;
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
  return link;
}
