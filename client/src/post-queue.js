// @ts-check
/**
 * Sends messages where there is no WebSocket: one POST after the other, so that they are stored in order. It ends with
 * its event stream. The layer above then sends undelivered messages again, because the next history shows which were
 * stored.
 */

import { backoffDelay, waitAfter } from "./backoff.js";
import { CloseCode, closeFromStatus, hintedDelay } from "./close-codes.js";
import { forRequest } from "./credentials.js";
import { sizeOf } from "./send-queue.js";

/** How long one message is retried, ms; then the connection ends. A server takes no longer to answer. */
const DELIVERY_TIMEOUT_MS = 30_000;

/**
 * @typedef {import("./close-codes.js").Close} Close
 * @typedef {import("./credentials.js").Credentials} Credentials
 * @typedef {import("./send-queue.js").Data} Data
 *
 * @typedef {Object} Post
 * @property {string | URL} url
 * @property {unknown} body Sent as JSON, perhaps more than once: it has an idempotency key, or repeating it is
 *   harmless.
 *
 * @typedef {Object} Answer
 * @property {number} status
 * @property {any} body The parsed JSON, if it is JSON.
 *
 * @typedef {Object} PostTiming All in milliseconds.
 * @property {number} connectTimeoutMs The longest time for one request.
 * @property {number} firstBackoffMs The longest wait after the first failure.
 * @property {number} maxBackoffMs The longest wait.
 *
 * @typedef {Object} PostHandler
 * @property {(data: Data) => Post | undefined} post Called when it is the message's turn. `undefined`: it is dropped.
 * @property {() => Promise<Credentials>} credentials Called before each request.
 * @property {(data: Data, answer: Answer) => void} answered Called in the order of sending.
 * @property {(close: Close) => void} failed This connection cannot deliver. Called at most once, and last.
 */

export class PostQueue {
  #handler;
  #timing;
  /** @type {Data[]} The first one is being sent. */
  #waiting = [];
  #bytes = 0;
  #isRunning = false;
  #isOver = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pause;

  /**
   * @param {PostTiming} timing
   * @param {PostHandler} handler
   */
  constructor(timing, handler) {
    this.#timing = timing;
    this.#handler = handler;
  }

  /** Bytes without an answer. RoomSocket reads it and enforces the limit. */
  get bytes() {
    return this.#bytes;
  }

  /** @param {Data} data */
  push(data) {
    this.#waiting.push(data);
    this.#bytes += sizeOf(data);
    if (!this.#isRunning) void this.#run();
  }

  /** Drops what waits. The current request may still arrive, as over a WebSocket, but its answer is ignored. */
  close() {
    this.#isOver = true;
    this.#waiting = [];
    this.#bytes = 0;
    clearTimeout(this.#pause);
  }

  async #run() {
    this.#isRunning = true;
    for (let data; (data = this.#waiting[0]) !== undefined;) {
      const post = this.#handler.post(data);
      const answer = post && (await this.#deliver(post));
      if (this.#isOver) return;
      this.#waiting.shift();
      this.#bytes -= sizeOf(data);
      if (answer) this.#handler.answered(data, answer);
    }
    this.#isRunning = false;
  }

  /**
   * Retries while the server does not answer. The idempotency key in the request makes that safe.
   *
   * @param {Post} post
   * @returns {Promise<Answer | undefined>} `undefined` if the queue is closed.
   */
  async #deliver(post) {
    const { firstBackoffMs, maxBackoffMs } = this.#timing;
    const giveUpAt = Date.now() + DELIVERY_TIMEOUT_MS;
    for (let failures = 0; !this.#isOver; failures += 1) {
      const { answer, close } = await this.#ask(post);
      if (this.#isOver) return undefined;
      if (answer) return answer;
      const backoff = backoffDelay(failures, Math.random(), firstBackoffMs, maxBackoffMs);
      const wait = waitAfter(backoff, hintedDelay(close.reason));
      if (close.code === CloseCode.unauthorized || Date.now() + wait > giveUpAt) return this.#fail(close);
      await new Promise((resolve) => (this.#pause = setTimeout(resolve, wait)));
    }
    return undefined;
  }

  /**
   * @param {Post} post
   * @returns {Promise<{ answer: Answer, close?: undefined } | { answer?: undefined, close: Close }>}
   */
  async #ask(post) {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new Error("not answered in time")), this.#timing.connectTimeoutMs);
    try {
      const { url, headers } = forRequest(post.url, await this.#handler.credentials());
      const response = await fetch(url, {
        method: "POST",
        headers: { Accept: "application/json", "Content-Type": "application/json", ...headers },
        body: JSON.stringify(post.body),
        credentials: "include",
        cache: "no-store",
        signal: late.signal,
      });
      const { status } = response;
      const body = await response.json().catch(() => undefined);
      if (!isNoAnswer(status)) return { answer: { status, body } };
      const close = closeFromStatus(status, response.headers.get("Retry-After"));
      return { close: close ?? { code: CloseCode.lost, reason: `HTTP ${status}` } };
    } catch (error) {
      return { close: { code: CloseCode.lost, reason: `not posted: ${error}` } };
    } finally {
      clearTimeout(timer);
    }
  }

  /** @param {Close} close */
  #fail(close) {
    this.close();
    this.#handler.failed(close);
    return undefined;
  }
}

/**
 * Whether a status is about the credentials or a server that is down, and not about the message.
 *
 * @param {number} status
 */
function isNoAnswer(status) {
  return status === 401 || status === 502 || status === 503 || status === 504;
}
