// @ts-check
/**
 * The messages of a room, in order and each once, sorted by `seq`. Without `seq` the order of arrival is used. Plain
 * data: it requests nothing.
 */

/** @typedef {import("./protocol.js").ChatMessage} ChatMessage */

/**
 * How many messages are kept while new ones arrive: a page that stays open for weeks must not grow for weeks. Older
 * ones that the reader loaded are kept in addition, because they may be in view.
 */
const MAX_MESSAGES = 2_000;

/** How many more may collect before the oldest are removed: removal is rare, and in groups. */
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
   * @returns {boolean} False if it is known, or older than our first message: there may be a gap between them.
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
   * @param {readonly ChatMessage[]} older A page of older messages, oldest first. It may overlap with ours.
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
    // From the end, where nearly every message belongs.
    while (place > 0 && (this.#messages[place - 1]?.seq ?? 0) > seq) place -= 1;
    return place;
  }

  #trimOldest() {
    for (const { id } of this.#messages.splice(0, TRIM_COUNT)) this.#ids.delete(id);
  }
}
