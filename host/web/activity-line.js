// @ts-check
/** The line under the messages: the users who are typing, or else the user who has just joined or left. */

import { typingText } from "/client/view/words.js";
import { byId } from "./dom.js";

/** How long it shows that a user joined or left, ms. */
const SHOWN_MS = 4_000;

/** @typedef {{ userName: string }} Named */

export class ActivityLine {
  #line = byId("activity");
  /** @type {readonly Named[]} */
  #typing = [];
  #joinLeave = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {readonly Named[]} users */
  typing(users) {
    this.#typing = users;
    this.#show();
  }

  /** @param {string} text */
  joinLeave(text) {
    this.#joinLeave = text;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.joinLeave(""), SHOWN_MS);
    this.#show();
  }

  #show() {
    this.#line.classList.toggle("typing", this.#typing.length > 0);
    this.#line.textContent =
      this.#typing.length > 0 ? typingText(this.#typing.map(({ userName }) => userName)) : this.#joinLeave;
  }
}
