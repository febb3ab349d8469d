// @ts-check
/**
 * The messages of a room, in order and each once, sorted by `seq`. Without `seq` the order of arrival is used. Plain
 * data: it requests nothing.
 */

/**
 * @typedef {import("./protocol.js").ChatMessage} ChatMessage
 * @typedef {import("./protocol.js").Deletion} Deletion
 */

/**
 * How many messages are kept while new ones arrive: a page that stays open for weeks must not grow for weeks. Older
 * ones that the reader loaded are kept in addition, because they may be in view.
 */
const MAX_MESSAGES = 2_000;

/** How many more may collect before the oldest are removed: removal is rare, and in groups. */
const TRIM_COUNT = 200;

/**
 * How many deletions are remembered. A page or an answer that the server made before a deletion may arrive after it,
 * and still has the content.
 */
const MAX_DELETIONS = 500;

export class Timeline {
  /** @type {ChatMessage[]} */
  #messages = [];
  /** @type {Set<string>} */
  #ids = new Set();
  /** @type {readonly ChatMessage[] | undefined} */
  #snapshot;
  #loadedOlder = 0;
  /** By message id, the oldest first. @type {Map<string, NonNullable<ChatMessage["deleted"]>>} */
  #deletions = new Map();

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
   * The message as it is now: without its content, if it was deleted.
   *
   * @param {ChatMessage} message
   */
  current(message) {
    const deleted = this.#deletions.get(message.id);
    return deleted && !message.deleted ? { ...message, content: "", deleted } : message;
  }

  /**
   * Removes the content of a message that was deleted, now or when it comes.
   *
   * @param {Deletion} deletion
   * @returns {ChatMessage | undefined} The message, if it is here and had content.
   */
  delete({ id, by, at }) {
    this.#deletions.delete(id);
    this.#deletions.set(id, { by, at });
    const [oldest] = this.#deletions.keys();
    if (this.#deletions.size > MAX_DELETIONS && oldest !== undefined) this.#deletions.delete(oldest);
    if (!this.#ids.has(id)) return undefined;
    const index = this.#messages.findIndex((message) => message.id === id);
    const message = this.#messages[index];
    if (!message || message.deleted) return undefined;
    const tombstone = this.current(message);
    this.#messages[index] = tombstone;
    this.#snapshot = undefined;
    return tombstone;
  }

  /**
   * @param {ChatMessage} message
   * @returns {boolean} False if it is known, or older than our first message: there may be a gap between them.
   */
  add(message) {
    if (this.has(message) || (message.seq ?? Infinity) < (this.firstSeq ?? 0)) return false;
    this.#messages.splice(this.#placeOf(message), 0, this.current(message));
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
    const added = older.slice(0, overlap < 0 ? older.length : overlap).map((message) => this.current(message));
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
