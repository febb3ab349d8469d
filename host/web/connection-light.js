// @ts-check
/** The state of the connection as a light with text, and a button to connect at once. */

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
    // A screen reader reads a live region after every write, even of the same text.
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
