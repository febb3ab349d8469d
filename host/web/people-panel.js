// @ts-check
/** The users who are present, and the user's own status. */

import { renderAvatar, knownColourOf } from "./avatar.js";
import { byId, make } from "./dom.js";

/**
 * @typedef {import("/client/index.js").Presence} Presence
 * @typedef {import("/client/index.js").UserPresence} UserPresence
 * @typedef {import("/client/index.js").Status} Status
 */

export class PeoplePanel {
  #list = byId("people-list");
  #count = byId("people-count");
  #presence;
  #myId;

  /**
   * @param {Presence} presence
   * @param {() => string | undefined} myId
   */
  constructor(presence, myId) {
    this.#presence = presence;
    this.#myId = myId;
    presence.on("users", () => this.show());
    presence.on("state", () => this.show());
    this.show();
  }

  show() {
    const { users, status, state } = this.#presence;
    // Without a connection the last known list is shown, in grey.
    this.#list.dataset.state = state;
    this.#count.textContent = users.length > 0 ? String(users.length) : "";
    this.#list.replaceChildren(...this.#mineFirst(users).map((user) => this.#person(user)));
    for (const input of document.querySelectorAll("#statuses input")) {
      if (input instanceof HTMLInputElement) input.checked = input.value === status;
    }
  }

  /** @param {readonly UserPresence[]} users */
  #mineFirst(users) {
    const mine = users.filter(({ userId }) => userId === this.#myId());
    return [...mine, ...users.filter((user) => !mine.includes(user))];
  }

  /** @param {UserPresence} user */
  #person(user) {
    const avatar = make("span", { class: "avatar", hidden: true });
    renderAvatar(avatar, user, knownColourOf(user.userId));
    const name = make("span", { class: "person-name" }, make("bdi", {}, user.userName));
    if (user.userId === this.#myId()) name.append(" ", make("span", { class: "you" }, "(you)"));
    const dot = make("b", { class: "dot" });
    dot.dataset.status = user.status;
    return make("li", { class: "person" }, avatar, name, make("span", { class: "person-status" }, dot, user.status));
  }
}
