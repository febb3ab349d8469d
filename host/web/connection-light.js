// @ts-check
/** The connection as a light with words: what it is, why, and what the reader can do. */

import { CloseCode } from "/client/index.js";
import { byId } from "./dom.js";

/** A wait shorter than this, ms, is over before it is read. */
const WORTH_COUNTING_MS = 2_000;

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
  show({ state, retryAt, close }) {
    clearInterval(this.#ticking);
    this.#countdown.textContent = "";
    this.#light.dataset.state = state;
    const text = wordsFor(state, close);
    // A live region speaks whenever it is written to, changed or not.
    if (this.#text.textContent !== text) this.#text.textContent = text;
    this.#action.hidden = !(state === "closed" || (state === "waiting" && retryAt !== undefined && retryAt - Date.now() > WORTH_COUNTING_MS));
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

/**
 * @param {StateEvent["state"]} state
 * @param {StateEvent["close"]} close
 */
function wordsFor(state, close) {
  switch (state) {
    case "open":
      return "Connected";
    case "connecting":
      return "Connecting";
    case "waiting":
      return close?.code === CloseCode.goingAway ? "Back in a moment" : "Reconnecting";
    case "closed":
      return close?.code === CloseCode.forbidden ? "Not allowed here" : close?.code === CloseCode.unauthorized ? "Signed out" : "Disconnected";
  }
}
