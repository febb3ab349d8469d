// @ts-check
/** The connection as a light with words: what it is, why, and what the reader can do. */

import { CONNECTION_TEXTS, canRetryNow, connectionStatusOf } from "/client/view/words.js";
import { byId } from "./dom.js";

/** @typedef {import("/client/index.js").StateEvent} StateEvent */

export class ConnectionLight {
  #light = byId("light");
  #text = byId("light-text");
  #countdown = byId("light-countdown");
  #action = byId("light-action", HTMLButtonElement);
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;

  /** @param {() => void} reconnect */
  constructor(reconnect) {
    this.#action.addEventListener("click", reconnect);
  }

  /** @param {StateEvent} event */
  show(event) {
    const { state, retryAt } = event;
    clearInterval(this.#ticking);
    this.#countdown.textContent = "";
    this.#light.dataset.state = state;
    const text = CONNECTION_TEXTS[connectionStatusOf(event)];
    // A live region speaks whenever it is written to, changed or not.
    if (this.#text.textContent !== text) this.#text.textContent = text;
    this.#action.hidden = !canRetryNow(event, Date.now());
    this.#action.textContent = state === "closed" ? "Reconnect" : "Try now";
    if (state === "waiting" && !this.#action.hidden && retryAt !== undefined) this.#count(retryAt);
  }

  /** @param {number} retryAt */
  #count(retryAt) {
    const tick = () => {
      this.#countdown.textContent = `${Math.max(0, Math.ceil((retryAt - Date.now()) / 1000))} s`;
    };
    tick();
    this.#ticking = setInterval(tick, 1000);
  }
}
