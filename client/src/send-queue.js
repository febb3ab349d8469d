// @ts-check
/** What was said while there was no connection, in order, up to a bound. A full queue refuses the newest. */

export class SendQueue {
  /** @type {string[]} */
  #texts = [];
  #bytes = 0;
  #limit;

  /** @param {number} limit How many texts may wait. */
  constructor(limit) {
    this.#limit = limit;
  }

  /** Bytes of UTF-8 that wait. */
  get bytes() {
    return this.#bytes;
  }

  /**
   * @param {string} text
   * @returns {boolean} False, where the queue is full.
   */
  push(text) {
    if (this.#texts.length >= this.#limit) return false;
    this.#texts.push(text);
    this.#bytes += new TextEncoder().encode(text).length;
    return true;
  }

  /** Empties the queue. */
  drain() {
    this.#bytes = 0;
    return this.#texts.splice(0);
  }
}
