// @ts-check
/**
 * What is said where there is no WebSocket: one POST after the other, so that what was said first is stored first. It
 * ends with the event stream that it belongs to; what it had not delivered then is said again by the layer above, which
 * knows from the next history what was stored.
 */

import { backoffDelay, waitAfter } from "./backoff.js";
import { CloseCode, closeFromStatus, hintedDelay } from "./close-codes.js";
import { forRequest } from "./credentials.js";
import { sizeOf } from "./send-queue.js";

/** How long we try to deliver one message, ms; then the connection is no good. As long as a server takes to answer. */
const DELIVERY_TIMEOUT_MS = 30_000;

/**
 * @typedef {import("./close-codes.js").Close} Close
 * @typedef {import("./credentials.js").Credentials} Credentials
 * @typedef {import("./send-queue.js").Data} Data
 *
 * @typedef {Object} Post
 * @property {string | URL} url
 * @property {unknown} body Sent as JSON. It may be sent more than once, so it must name itself or bear it.
 *
 * @typedef {Object} Answer
 * @property {number} status
 * @property {any} body What it says in JSON, if it does.
 *
 * @typedef {Object} PostTiming All in milliseconds.
 * @property {number} connectTimeoutMs How long one request may take.
 * @property {number} firstBackoffMs The longest wait after the first that failed.
 * @property {number} maxBackoffMs The longest wait of all.
 *
 * @typedef {Object} PostHandler
 * @property {(data: Data) => Post | undefined} post Asked when its turn has come. Nothing: it is not sent at all.
 * @property {() => Promise<Credentials>} credentials Asked before each request.
 * @property {(data: Data, answer: Answer) => void} answered In the order of sending.
 * @property {(close: Close) => void} failed It cannot be delivered over this connection. Called once at most, and last.
 */

export class PostQueue {
  #handler;
  #timing;
  /** @type {Data[]} The first one is on its way. */
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

  /** Of what was not answered yet. RoomSocket, which reads it, puts the bound to it. */
  get bytes() {
    return this.#bytes;
  }

  /** @param {Data} data */
  push(data) {
    this.#waiting.push(data);
    this.#bytes += sizeOf(data);
    if (!this.#isRunning) void this.#run();
  }

  /** What waits is dropped. What is on its way may still arrive, as it may over a WebSocket; nobody hears of it. */
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
   * Again and again where nobody answers: a request names what it says, so it is stored once.
   *
   * @param {Post} post
   * @returns {Promise<Answer | undefined>} Nothing, where it is over.
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
 * Whether a status says nothing of the message, but of who asks or of a server that cannot answer now.
 *
 * @param {number} status
 */
function isNoAnswer(status) {
  return status === 401 || status === 502 || status === 503 || status === 504;
}
