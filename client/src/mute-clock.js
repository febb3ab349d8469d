// @ts-check
/** When the user's own mute in a room ends, by this machine's clock. Nothing is sent when it does. */

/** The longest time of a timer, ms: it holds 31 bits. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export class MuteClock {
  #changed;
  /** @type {number | undefined} */
  #until;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {() => void} changed */
  constructor(changed) {
    this.#changed = changed;
  }

  /** Unix milliseconds; `undefined` if the user is not muted. */
  get until() {
    return this.#until;
  }

  /**
   * The server sends the time that is left, so that a wrong clock here does not matter.
   *
   * @param {number} seconds 0 or less: the mute has ended.
   */
  set(seconds) {
    const until = seconds > 0 ? Date.now() + seconds * 1_000 : undefined;
    clearTimeout(this.#timer);
    if (until !== undefined) this.#wait(until);
    if (until === this.#until) return;
    this.#until = until;
    this.#changed();
  }

  /** @param {number} until */
  #wait(until) {
    const left = until - Date.now();
    this.#timer = setTimeout(
      () => (Date.now() < until ? this.#wait(until) : this.set(0)),
      Math.min(Math.max(0, left), MAX_TIMER_MS),
    );
  }
}
