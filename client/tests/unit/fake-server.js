// @ts-check
/** A fake `fetch`: the test answers each request, and sends on each event stream. */

/**
 * @typedef {{ status: number, headers?: Record<string, string>, body?: unknown }} Reply
 */

/** One request that was made. */
export class FakeRequest {
  /** @type {(response: any) => void} */
  #resolve = () => {};
  /** @type {(error: unknown) => void} */
  #reject = () => {};
  /** The page has aborted it. */
  isAborted = false;
  isAnswered = false;

  /**
   * @param {string} url
   * @param {RequestInit} init
   */
  constructor(url, init) {
    this.url = new URL(url);
    this.method = init.method ?? "GET";
    this.headers = /** @type {Record<string, string>} */ (init.headers ?? {});
    this.credentials = init.credentials;
    this.body = typeof init.body === "string" ? JSON.parse(init.body) : undefined;
    this.response = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    init.signal?.addEventListener("abort", () => {
      this.isAborted = true;
      this.fail(new DOMException("aborted", "AbortError"));
    });
  }

  /** @param {unknown} [error] There is no network. */
  fail(error = new TypeError("fetch failed")) {
    this.isAnswered = true;
    this.#reject(error);
  }

  /** @param {Reply} reply */
  answer({ status, headers = {}, body }) {
    this.isAnswered = true;
    const json = async () => {
      if (body === undefined) throw new SyntaxError("no JSON");
      return body;
    };
    this.#resolve({ status, ok: status < 300, headers: new Headers(headers), body: null, json });
  }

  /** @param {unknown} response */
  resolve(response) {
    this.isAnswered = true;
    this.#resolve(response);
  }
}

/** A request for an event stream. */
export class FakeStream extends FakeRequest {
  /** @type {(() => Promise<{ done: boolean, value?: Uint8Array }>)[]} */
  #pieces = [];
  /** @type {(() => void) | undefined} */
  #more;
  isEnded = false;

  /** @param {string} [type] */
  accept(type = "text/event-stream; charset=utf-8") {
    const read = async () => {
      while (this.#pieces.length === 0) await new Promise((resolve) => (this.#more = () => resolve(undefined)));
      return /** @type {() => Promise<any>} */ (this.#pieces.shift())();
    };
    const body = { getReader: () => ({ read }) };
    this.resolve({ status: 200, ok: true, headers: new Headers({ "Content-Type": type }), body });
  }

  /**
   * @override
   * @param {unknown} [error]
   */
  fail(error) {
    super.fail(error);
    this.#next(async () => Promise.reject(error ?? new TypeError("network error")));
  }

  /** @param {string} text As it is. */
  write(text) {
    this.#next(async () => ({ done: false, value: new TextEncoder().encode(text) }));
  }

  /** @param {unknown} frame Text as it is, anything else as JSON. */
  say(frame) {
    this.write(`data: ${typeof frame === "string" ? frame : JSON.stringify(frame)}\n\n`);
  }

  ping() {
    this.write(": ping\n\n");
  }

  /** @param {number} code @param {string} [reason] */
  bye(code, reason = "") {
    this.write(`event: close\ndata: ${JSON.stringify({ code, reason })}\n\n`);
    this.end();
  }

  end() {
    this.isEnded = true;
    this.#next(async () => ({ done: true }));
  }

  /** Whether neither side has ended it. */
  get isOpen() {
    return !this.isAborted && !this.isEnded;
  }

  /** @param {() => Promise<any>} piece */
  #next(piece) {
    this.#pieces.push(piece);
    this.#more?.();
  }
}

export class FakeServer {
  /** @type {FakeStream[]} */
  streams = [];
  /** @type {FakeRequest[]} */
  posts = [];
  /** Other requests. @type {FakeRequest[]} */
  gets = [];
  /** The answer to other requests. `undefined`: the test answers each. @type {Reply | "no network" | undefined} */
  replies = { status: 200, body: {} };

  /** Replaces the global one. */
  fetch = async (/** @type {string} */ url, /** @type {RequestInit} */ init = {}) => {
    if (init.method === "POST") return this.#take(this.posts, new FakeRequest(url, init));
    if (/\/events(\?|$)/.test(url)) return this.#take(this.streams, new FakeStream(url, init));
    const request = new FakeRequest(url, init);
    if (this.replies === "no network") request.fail();
    else if (this.replies) request.answer(this.replies);
    return this.#take(this.gets, request);
  };

  get stream() {
    return last(this.streams, "no stream was asked for");
  }

  get post() {
    return last(this.posts, "nothing was posted");
  }

  /**
   * @template {FakeRequest} Request
   * @param {Request[]} all
   * @param {Request} request
   */
  #take(all, request) {
    all.push(request);
    return request.response;
  }
}

/**
 * @template Item
 * @param {Item[]} all
 * @param {string} complaint
 */
function last(all, complaint) {
  const item = all.at(-1);
  if (item === undefined) throw new Error(complaint);
  return item;
}
