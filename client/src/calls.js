// @ts-check
/**
 * Calls of a room over its socket: the client asks, and gets the answer alone. A call that is not answered when the
 * connection ends is sent again on the next one, under the same id. A room of `@dormouse/room` runs it once and keeps
 * the answer, so a call has its effect exactly once, whatever happens to the connection or to the server.
 *
 * It knows no room and no connection: `RoomSocket` passes the frames.
 */

import { parseFrame } from "./protocol.js";
import { randomId } from "./uuid.js";

/** The most calls that may wait for their answers. */
const MAX_CALLS = 100;

/** How long a call waits for its answer, ms. It is less than the ten minutes for which a room keeps an answer. */
const TIMEOUT_MS = 30_000;
const MAX_TIMEOUT_MS = 9 * 60_000;

/**
 * @typedef {Record<string, (args: any) => unknown>} CallTypes The calls of a room: `CallsOf<Board>` of
 *   `@dormouse/room` makes them of a class.
 *
 * @typedef {Object} CallOptions
 * @property {number} [timeoutMs] The longest wait for the answer, with all reconnects. Default: 30 s; at most 9 min.
 * @property {AbortSignal} [signal] Ends the wait. The call may have run, or may still run.
 *
 * @typedef {Object} Waiting
 * @property {string} text The frame.
 * @property {boolean} sent It may have arrived.
 * @property {(value: unknown) => void} resolve
 * @property {(code: string, message: string) => void} reject
 */

/**
 * A call without an answer, or with an error for one. `code` is that of the room's `ClientError`, such as
 * `not_your_turn`, or one of these: `bad_args` and `unknown_call` (the room refused it), `room_failed` (it failed, and
 * nothing of it was kept), `timeout`, `aborted` and `closed` (it may have run), `too_many`, `bad_args` and `not_sent`
 * (it has not run).
 */
export class CallError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.name = "CallError";
    this.code = code;
  }
}

export class Calls {
  /** By their ids, oldest first. @type {Map<string, Waiting>} */
  #waiting = new Map();
  #send;

  /** @param {(frame: string) => boolean} send False if there is no connection. */
  constructor(send) {
    this.#send = send;
  }

  /**
   * @param {string} name
   * @param {unknown} args
   * @param {CallOptions} [options]
   * @returns {Promise<unknown>}
   */
  call(name, args, { timeoutMs = TIMEOUT_MS, signal } = {}) {
    return new Promise((resolve, reject) => {
      const fail = (/** @type {string} */ code, /** @type {string} */ message) => reject(new CallError(code, message));
      if (signal?.aborted) return fail("aborted", `the call ${name} was aborted before it was sent`);
      if (this.#waiting.size >= MAX_CALLS) return fail("too_many", `${MAX_CALLS} calls wait for their answers already`);
      const id = randomId();
      const text = frameOf(id, name, args);
      if (text === undefined) return fail("bad_args", `the arguments of the call ${name} cannot be JSON`);
      const end = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.#waiting.delete(id);
      };
      const abort = () => waiting.reject("aborted", `the call ${name} was aborted; it may have run`);
      const late = () =>
        waiting.reject(
          waiting.sent ? "timeout" : "not_sent",
          `the call ${name} got no answer in time; it ${waiting.sent ? "may have run" : "was not sent"}`,
        );
      const timer = setTimeout(late, Math.min(timeoutMs, MAX_TIMEOUT_MS));
      signal?.addEventListener("abort", abort);
      /** @type {Waiting} */
      const waiting = {
        text,
        sent: false,
        resolve: (value) => (end(), resolve(value)),
        reject: (code, message) => (end(), fail(code, message)),
      };
      this.#waiting.set(id, waiting);
      waiting.sent = this.#send(text);
    });
  }

  /**
   * There is a new connection: all calls without an answer are sent on it, in their order.
   *
   * @param {(frame: string) => void} send
   */
  opened(send) {
    for (const waiting of this.#waiting.values()) {
      waiting.sent = true;
      send(waiting.text);
    }
  }

  /** There will be no connection any more, until the owner opens one. */
  closed() {
    for (const { sent, reject } of [...this.#waiting.values()]) {
      const [code, what] = sent ? ["closed", "it may have run"] : ["not_sent", "the call was not sent"];
      reject(code, `the connection was closed before the answer; ${what}`);
    }
  }

  /**
   * Takes a frame that answers a call of this client.
   *
   * @param {string | ArrayBuffer} data
   * @returns {boolean} Whether it was one.
   */
  handles(data) {
    if (this.#waiting.size === 0) return false;
    const frame = /** @type {Record<string, unknown> | undefined} */ (parseFrame(data));
    if (frame?.type !== "answer" && frame?.type !== "error") return false;
    const id = frame.type === "answer" ? frame.id : frame.clientId;
    const waiting = this.#waiting.get(String(id));
    if (!waiting) return false;
    if (frame.type === "error") waiting.reject(textOr(frame.code, "error"), textOr(frame.message, "the call failed"));
    else if (frame.error === undefined) waiting.resolve(frame.value);
    else {
      const { code, message } = /** @type {Record<string, unknown>} */ (Object(frame.error));
      waiting.reject(textOr(code, "error"), textOr(message, "the call failed"));
    }
    return true;
  }
}

/**
 * `clientId` repeats the id: the server's own error frames name it.
 *
 * @param {string} id
 * @param {string} name
 * @param {unknown} args
 * @returns {string | undefined}
 */
function frameOf(id, name, args) {
  try {
    return JSON.stringify({ type: "call", id, clientId: id, once: true, name, args });
  } catch {
    return undefined;
  }
}

/**
 * @param {unknown} value
 * @param {string} other
 */
function textOr(value, other) {
  return typeof value === "string" ? value : other;
}
