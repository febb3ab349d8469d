// @ts-check
/**
 * The messages of a room, in order and each once. The order is that of `seq`; a server that gives none is believed
 * to send in order. Plain data: it asks nobody for more.
 */

/** @typedef {import("./protocol.js").ChatMessage} ChatMessage */

/**
 * How many messages are kept while new ones arrive: a page that stays open for weeks must not grow for weeks. What a
 * reader asked for is kept beyond that, since it may be what they are reading.
 */
const MAX_MESSAGES = 2_000;

/** How many more may gather before the oldest go, so that they go rarely and together. */
const TRIM_COUNT = 200;

export class Timeline {
  /** @type {ChatMessage[]} */
  #messages = [];
  /** @type {Set<string>} */
  #ids = new Set();
  /** @type {readonly ChatMessage[] | undefined} */
  #snapshot;
  #loadedOlder = 0;

  /** The same array until something changes. */
  get messages() {
    return (this.#snapshot ??= Object.freeze([...this.#messages]));
  }

  get size() {
    return this.#messages.length;
  }

  get firstSeq() {
    return this.#messages[0]?.seq;
  }

  get lastSeq() {
    return this.#messages.at(-1)?.seq;
  }

  /** @param {ChatMessage} message */
  has(message) {
    return this.#ids.has(message.id);
  }

  /**
   * @param {ChatMessage} message
   * @returns {boolean} False, where it was known already, or is older than what we show: it would stand before a gap.
   */
  add(message) {
    if (this.has(message) || (message.seq ?? Infinity) < (this.firstSeq ?? 0)) return false;
    this.#messages.splice(this.#placeOf(message), 0, message);
    this.#ids.add(message.id);
    this.#snapshot = undefined;
    if (this.#messages.length > MAX_MESSAGES + TRIM_COUNT + this.#loadedOlder) this.#trimOldest();
    return true;
  }

  /**
   * @param {readonly ChatMessage[]} older A page of what came before, oldest first. What it tells of the time after
   *   our own first message is known already.
   * @returns {number} How many were new.
   */
  prepend(older) {
    const overlap = older.findIndex((message) => this.has(message));
    const added = older.slice(0, overlap < 0 ? older.length : overlap);
    this.#messages.unshift(...added);
    this.#loadedOlder += added.length;
    for (const { id } of added) this.#ids.add(id);
    this.#snapshot = undefined;
    return added.length;
  }

  /** @param {readonly ChatMessage[]} messages */
  replace(messages) {
    this.#messages = [];
    this.#ids.clear();
    this.#snapshot = undefined;
    this.#loadedOlder = 0;
    for (const message of messages) this.add(message);
  }

  /** @param {ChatMessage} message */
  #placeOf({ seq }) {
    let place = this.#messages.length;
    if (seq === undefined) return place;
    // From the end: nearly always that is the place.
    while (place > 0 && (this.#messages[place - 1]?.seq ?? 0) > seq) place -= 1;
    return place;
  }

  #trimOldest() {
    for (const { id } of this.#messages.splice(0, TRIM_COUNT)) this.#ids.delete(id);
  }
}
