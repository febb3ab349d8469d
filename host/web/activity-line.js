// @ts-check
/** The line under the messages: who types, and else who has just come or gone. */

import { whoTypes } from "/client/view/words.js";
import { byId } from "./dom.js";

/** How long a coming or going is told, ms. */
const TOLD_MS = 4_000;

/** @typedef {{ userName: string }} Named */

export class Whisper {
  #line = byId("whisper");
  /** @type {readonly Named[]} */
  #typing = [];
  #passage = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {readonly Named[]} users */
  typing(users) {
    this.#typing = users;
    this.#show();
  }

  /** @param {string} text */
  passage(text) {
    this.#passage = text;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.passage(""), TOLD_MS);
    this.#show();
  }

  #show() {
    this.#line.classList.toggle("typing", this.#typing.length > 0);
    this.#line.textContent =
      this.#typing.length > 0 ? whoTypes(this.#typing.map(({ userName }) => userName)) : this.#passage;
  }
}
