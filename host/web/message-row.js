// @ts-check
/** One message as an element of the list. Text of users enters the document only as text. */

import { timeOf } from "/client/view/days.js";
import { withLinks } from "/client/view/links.js";
import { colourOf, renderAvatar } from "./avatar.js";
import { make } from "./dom.js";

/**
 * @typedef {import("/client/index.js").ChatMessage} ChatMessage
 * @typedef {import("/client/index.js").PendingMessage} PendingMessage
 * @typedef {{ retry: (clientId: string) => void, discard: (clientId: string) => void }} PendingActions
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
