// @ts-check
/**
 * One event stream, from its request to its single end. It replaces a `Connection` where WebSockets are blocked;
 * messages of the client go by POST. It uses `fetch`, because `EventSource` hides the status, cannot send
 * `Authorization` and reconnects by itself.
 */

import { CloseCode, closeFromStatus } from "./close-codes.js";
import { EventParser } from "./event-parser.js";
import { PostQueue } from "./post-queue.js";

/**
 * Statuses of a server without event streams, or without this one: asking again does not help. Others, such as 502,
 * mean that the server is down.
 */
const ABSENT = new Set([404, 405, 406, 410, 501]);

/**
 * @typedef {import("./close-codes.js").Close} Close
 * @typedef {import("./connection.js").Ending} Ending
 * @typedef {import("./connection.js").ConnectionListener} ConnectionListener
 * @typedef {import("./event-parser.js").StreamEvent} StreamEvent
 * @typedef {import("./post-queue.js").PostTiming} PostTiming
 * @typedef {import("./post-queue.js").PostHandler} PostHandler
 * @typedef {import("./send-queue.js").Data} Data
 *
 * @typedef {Object} StreamTiming All in milliseconds, without those of its requests.
 * @property {number} connectTimeoutMs The longest time for one attempt.
 * @property {number} answerTimeoutMs The longest wait for the room's first message, and for the server's answer to a
 *   probe.
 * @property {number} streamTimeoutMs After this time without a byte the stream is lost.
 *
 * @typedef {Object} ServerProbe
 * @property {() => Promise<unknown>} ask Asks the server over HTTP. Rejects if it cannot be reached.
 *
 * @typedef {Omit<PostHandler, "failed"> & ServerProbe} StreamContext The requests that a stream needs besides its own.
 */

export class EventStream {
  #timing;
  #context;
  #listener;
  #posts;
  #asking = new AbortController();
  #parser = new EventParser();
  #opened = false;
  #received = false;
  #isOver = false;
  #isAsking = false;
  /** Unix milliseconds: that clock goes on while a laptop sleeps. */
  #receivedAt = 0;
  /** The current deadline: to open, or to receive something. @type {ReturnType<typeof setTimeout> | undefined} */
  #deadline;

  /**
   * @param {{ url: string, headers: Record<string, string> }} request
   * @param {StreamTiming & PostTiming} timing
   * @param {StreamContext} context
   * @param {ConnectionListener} listener
   */
  constructor(request, timing, context, listener) {
    this.#timing = timing;
    this.#context = context;
    this.#listener = listener;
    this.#posts = new PostQueue(timing, { ...context, failed: (close) => this.#end({ ...close, cause: "closed" }) });
    this.#arm(timing.connectTimeoutMs, () => this.#lose("did not open in time", "late"));
    void this.#read(request);
  }

  get bufferedAmount() {
    return this.#posts.bytes;
  }

  /** @param {Data} data */
  send(data) {
    this.#posts.push(data);
  }

  /**
   * Checks the stream. A stream has no ping, so this looks at the clock (the page may have slept) and asks the server
   * over HTTP. If neither shows life, the stream is lost.
   */
  probe() {
    if (!this.#opened || this.#isOver) return;
    if (Date.now() - this.#receivedAt >= this.#timing.streamTimeoutMs) this.#lose("silent for too long", "silent");
    else if (!this.#isAsking) void this.#ask();
  }

  async #ask() {
    this.#isAsking = true;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const late = new Promise((_, reject) => (timer = setTimeout(reject, this.#timing.answerTimeoutMs)));
    try {
      await Promise.race([this.#context.ask(), late]);
    } catch {
      if (!this.#isOver) this.#lose("no answer over HTTP", "silent");
    } finally {
      clearTimeout(timer);
      this.#isAsking = false;
    }
  }

  /** Closes without calling `end`. To the server this looks like a lost socket. */
  close() {
    this.#isOver = true;
    clearTimeout(this.#deadline);
    this.#posts.close();
    this.#asking.abort();
  }

  /** @param {{ url: string, headers: Record<string, string> }} request */
  async #read({ url, headers }) {
    try {
      const response = await fetch(url, {
        headers: { Accept: "text/event-stream", ...headers },
        credentials: "include",
        cache: "no-store",
        signal: this.#asking.signal,
      });
      if (this.#isOver) return;
      const refusal = refusalOf(response);
      if (refusal || !response.body) return this.#end(refusal ?? lost("nothing to read"));
      this.#open();
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (this.#isOver) return;
        if (done) return this.#lose("the stream ended", "closed");
        this.#receive(value);
      }
    } catch (error) {
      if (!this.#isOver) this.#lose(`the stream broke: ${error}`, "closed");
    }
  }

  #open() {
    this.#opened = true;
    this.#receivedAt = Date.now();
    // Some proxies let a stream open but hold back its data.
    this.#arm(this.#timing.answerTimeoutMs, () => this.#lose("no first frame in time", "mute"));
    this.#listener.open();
  }

  /** @param {Uint8Array} bytes */
  #receive(bytes) {
    this.#receivedAt = Date.now();
    if (!this.#received) {
      this.#received = true;
      this.#watchSilence(this.#timing.streamTimeoutMs);
      this.#listener.firstData();
    }
    const events = this.#parse(bytes);
    if (events.length === 0 && !this.#isOver) this.#listener.alive?.();
    for (const event of events) {
      if (this.#isOver) return; // a listener may have closed this
      if (event.type === "message") this.#listener.message(event.data);
      if (event.type === "close") this.#end({ ...closeOf(event), cause: "closed" });
    }
  }

  /** @param {Uint8Array} bytes */
  #parse(bytes) {
    try {
      return this.#parser.push(bytes);
    } catch (error) {
      this.#end({ code: CloseCode.messageTooBig, reason: String(error), cause: "closed" });
      return [];
    }
  }

  /**
   * Sets the deadline once and moves it when it is reached: a busy room then needs no timer for each event.
   *
   * @param {number} ms
   */
  #watchSilence(ms) {
    this.#arm(ms, () => {
      const left = this.#timing.streamTimeoutMs - (Date.now() - this.#receivedAt);
      if (left > 0) this.#watchSilence(left);
      else this.#lose("silent for too long", "silent");
    });
  }

  /**
   * @param {string} reason
   * @param {Ending["cause"]} cause
   */
  #lose(reason, cause) {
    const { retryMs } = this.#parser;
    const hint = retryMs === undefined ? "" : ` retry-after=${retryMs / 1000}`;
    this.#end({ code: CloseCode.lost, reason: reason + hint, cause });
  }

  /** @param {Pick<Ending, "code" | "reason" | "cause">} ending */
  #end(ending) {
    this.close();
    this.#listener.end({ ...ending, opened: this.#opened, received: this.#received });
  }

  /**
   * @param {number} ms
   * @param {() => void} then
   */
  #arm(ms, then) {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(then, ms);
  }
}

/**
 * @param {Response} response
 * @returns {Pick<Ending, "code" | "reason" | "cause"> | undefined} `undefined` if it is an event stream.
 */
function refusalOf({ status, headers }) {
  const close = closeFromStatus(status, headers.get("Retry-After"));
  if (close) return { ...close, cause: "closed" };
  if (status !== 200) return { ...lost(`HTTP ${status}`), cause: ABSENT.has(status) ? "absent" : "closed" };
  const type = headers.get("Content-Type") ?? "nothing";
  return /^text\/event-stream\b/i.test(type) ? undefined : lost(`no event stream but ${type}`);
}

/**
 * @param {string} reason
 * @returns {Pick<Ending, "code" | "reason" | "cause">}
 */
function lost(reason) {
  return { code: CloseCode.lost, reason, cause: "closed" };
}

/**
 * @param {StreamEvent} event The server's `close` event.
 * @returns {Close}
 */
function closeOf({ data }) {
  try {
    const { code, reason } = JSON.parse(data);
    return { code: Number.isInteger(code) ? code : CloseCode.lost, reason: String(reason ?? "") };
  } catch {
    return { code: CloseCode.lost, reason: "the stream ended" };
  }
}
