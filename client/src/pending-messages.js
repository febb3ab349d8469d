// @ts-check
/**
 * The messages that the server has not yet confirmed, in the order of writing, up to a bound. Each has a promise
 * that is kept when it is stored and broken when it fails; a failed message stays, for its author to try again or
 * to discard. It sends nothing itself.
 */

import { randomId } from "./uuid.js";

/** How long a message may be on its way over a living connection before we call it failed, ms. */
const STORED_TIMEOUT_MS = 30_000;

/**
 * `code`: of a message that was not even taken, `empty`, `too-many`, `not-connected`; of one that failed, `closed`,
 * `timeout`, `overflow` (more was on its way than may be), `unsure` (it may or may not have been stored), `discarded`,
 * or whatever the server said.
 */
export class SendError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.name = "SendError";
    this.code = code;
  }
}

/**
 * @typedef {import("./protocol.js").ChatMessage} ChatMessage
 *
 * @typedef {Object} PendingMessage
 * @property {string} clientId The same in every attempt: by it the server knows a retry.
 * @property {string} content
 * @property {"pending" | "failed"} state
 * @property {number} createdAt Unix milliseconds.
 * @property {number} [sentAt] When it first left.
 * @property {SendError} [error] Why it failed.
 *
 * @typedef {Object} Entry
 * @property {Readonly<PendingMessage>} message
 * @property {(stored: ChatMessage) => void} resolve
 * @property {(error: SendError) => void} reject
 * @property {ReturnType<typeof setTimeout>} [timer]
 */

export class PendingMessages {
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  /** @type {readonly Readonly<PendingMessage>[] | undefined} */
  #snapshot;
  #limit;
  #changed;

  /**
   * @param {number} limit
   * @param {() => void} changed Called after every change.
   */
  constructor(limit, changed) {
    this.#limit = limit;
    this.#changed = changed;
  }

  /** The same array until something changes. */
  get messages() {
    return (this.#snapshot ??= Object.freeze(Array.from(this.#entries.values(), (entry) => entry.message)));
  }

  /**
   * @param {string} content
   * @returns {{ clientId: string, stored: Promise<ChatMessage> }}
   */
  add(content) {
    if (this.#entries.size >= this.#limit) {
      throw new SendError("too-many", `${this.#limit} messages wait already`);
    }
    const clientId = randomId();
    return { clientId, stored: this.#promise({ clientId, content, state: "pending", createdAt: Date.now() }) };
  }

  /**
   * A failed message becomes pending again, with a new promise.
   *
   * @param {string} clientId
   * @returns {Promise<ChatMessage> | undefined} Nothing, where no such message has failed.
   */
  retry(clientId) {
    const message = this.#entries.get(clientId)?.message;
    if (message?.state !== "failed") return undefined;
    return this.#promise({ ...message, state: "pending", error: undefined });
  }

  /**
   * It is on its way, and its echo is awaited.
   *
   * @param {string} clientId
   */
  sent(clientId) {
    this.posted(clientId);
    const entry = this.#entries.get(clientId);
    if (!entry) return;
    entry.timer = setTimeout(
      () => this.fail(clientId, new SendError("timeout", "the room did not answer")),
      STORED_TIMEOUT_MS,
    );
  }

  /**
   * It is on its way as a request, perhaps behind others. Whoever carries it will tell what became of it.
   *
   * @param {string} clientId
   */
  posted(clientId) {
    const entry = this.#entries.get(clientId);
    if (!entry) return;
    clearTimeout(entry.timer);
    this.#set(entry, { ...entry.message, sentAt: entry.message.sentAt ?? Date.now() });
  }

  /** The connection is gone: nothing is on its way any more. */
  stopTimers() {
    for (const { timer } of this.#entries.values()) clearTimeout(timer);
  }

  /**
   * @param {string} clientId
   * @param {ChatMessage} stored
   */
  settle(clientId, stored) {
    this.#take(clientId)?.resolve(stored);
  }

  /**
   * @param {string} clientId
   * @param {SendError} error
   */
  fail(clientId, error) {
    const entry = this.#entries.get(clientId);
    if (entry?.message.state !== "pending") return;
    clearTimeout(entry.timer);
    this.#set(entry, { ...entry.message, state: "failed", error });
    entry.reject(error);
  }

  /** @param {string} clientId */
  discard(clientId) {
    this.#take(clientId)?.reject(new SendError("discarded", "discarded by its author"));
  }

  /**
   * @param {Readonly<PendingMessage>} message
   * @returns {Promise<ChatMessage>}
   */
  #promise(message) {
    return new Promise((resolve, reject) => {
      const entry = { message, resolve, reject };
      this.#entries.set(message.clientId, entry);
      this.#set(entry, message);
    });
  }

  /** @param {string} clientId */
  #take(clientId) {
    const entry = this.#entries.get(clientId);
    if (!entry) return undefined;
    clearTimeout(entry.timer);
    this.#entries.delete(clientId);
    this.#snapshot = undefined;
    this.#changed();
    return entry;
  }

  /**
   * @param {Entry} entry
   * @param {PendingMessage} message
   */
  #set(entry, message) {
    entry.message = Object.freeze(message);
    this.#snapshot = undefined;
    this.#changed();
  }
}
