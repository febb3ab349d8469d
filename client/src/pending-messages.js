// @ts-check
/**
 * The user's messages that the server has not confirmed yet, in the order of writing, up to a limit. Each has a promise
 * that resolves when the message is stored and rejects when it fails. A failed message stays until its author sends it
 * again or discards it. This class sends nothing.
 */

import { randomId } from "./uuid.js";

/** How long a sent message may wait for its echo over an open connection, ms; then it fails. */
const STORED_TIMEOUT_MS = 30_000;

/**
 * `code` of a message that was not accepted: `empty`, `too-many`, `not-connected`, `read-only`. Of one that failed:
 * `closed`, `timeout`, `overflow` (too much was unsent), `unsure` (it may have been stored), `discarded`, or the code
 * from the server.
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
 * @property {string} clientId The same in every attempt: the idempotency key by which the server recognises a retry.
 * @property {string} content
 * @property {"pending" | "failed"} state
 * @property {number} createdAt Unix milliseconds.
 * @property {number} [sentAt] When it was first sent.
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
      throw new SendError("too-many", `${this.#limit} messages are pending already`);
    }
    const clientId = randomId();
    return { clientId, stored: this.#promise({ clientId, content, state: "pending", createdAt: Date.now() }) };
  }

  /**
   * A failed message becomes pending again, with a new promise.
   *
   * @param {string} clientId
   * @returns {Promise<ChatMessage> | undefined} `undefined` if no such message has failed.
   */
  retry(clientId) {
    const message = this.#entries.get(clientId)?.message;
    if (message?.state !== "failed") return undefined;
    return this.#promise({ ...message, state: "pending", error: undefined });
  }

  /**
   * It was sent, and its echo must come in time.
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
   * It waits for its POST, perhaps behind others. The post queue reports the result, so no timer starts here.
   *
   * @param {string} clientId
   */
  posted(clientId) {
    const entry = this.#entries.get(clientId);
    if (!entry) return;
    clearTimeout(entry.timer);
    this.#set(entry, { ...entry.message, sentAt: entry.message.sentAt ?? Date.now() });
  }

  /** The connection is gone, so no echo can come. */
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
