// @ts-check
/**
 * Renews the token of an open WebSocket before it expires, so that the socket can outlive the token. The server answers
 * with a frame. If it does not answer, or there is no new token, nothing is lost: the server closes the socket with
 * 4401 when the token expires, and RoomSocket then asks for fresh credentials.
 */

import { expiryOf, isSameToken } from "./credentials.js";

/** A long-lived token is renewed after this part of its remaining life. */
const RENEW_AFTER = 0.8;
/** At least this much must be left then, ms: time to reach the issuer, and to try once more. */
const RENEW_MARGIN_MS = 30_000;
/**
 * A token with less than a minute left is renewed after this part of it. Otherwise renewals would follow without a
 * pause.
 */
const RENEW_AFTER_SHORT = 0.5;
/** Up to this part is subtracted at random, so that users who connected together do not ask together. */
const JITTER = 0.1;
/** With less than this left it is too late to renew, ms. */
const TOO_LATE_MS = 2_000;
/** The longest wait, ms: timers overflow at 24 days, and clocks may be set. */
const MAX_WAIT_MS = 86_400_000;

/**
 * The wait before a token is renewed.
 *
 * @param {number} left What is left of its life, ms.
 * @param {number} chance Random, from 0 to 1.
 * @returns {number | undefined} ms; `undefined` if it is too late.
 */
export function renewalDelay(left, chance) {
  if (!(left > TOO_LATE_MS)) return undefined;
  const life = Math.min(left, 3 * MAX_WAIT_MS); // a bound, even for a token that never expires
  const due = Math.max(Math.min(life * RENEW_AFTER, life - RENEW_MARGIN_MS), life * RENEW_AFTER_SHORT);
  return Math.min(due - life * JITTER * chance, MAX_WAIT_MS);
}

/**
 * @typedef {import("./credentials.js").Credentials} Credentials
 *
 * @typedef {Object} RenewalHooks
 * @property {() => Promise<Credentials>} ask For new credentials, because the current ones expire soon.
 * @property {(frame: string) => void} send
 * @property {(credentials: Credentials) => void} renewed The server has accepted these instead of the old ones.
 */

export class Renewal {
  #hooks;
  #answerTimeoutMs;
  /** @type {Credentials} */
  #current;
  /** Sent to the server and not answered yet. @type {Credentials} */
  #sent;
  /** Only the newest round continues after a wait. */
  #round = Symbol();
  /** The current deadline: to renew, or to be answered. @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #isUnknown = false;

  /**
   * @param {RenewalHooks} hooks
   * @param {number} answerTimeoutMs The longest wait for an answer.
   */
  constructor(hooks, answerTimeoutMs) {
    this.#hooks = hooks;
    this.#answerTimeoutMs = answerTimeoutMs;
  }

  /** @param {Credentials} credentials Those that opened the WebSocket. */
  begin(credentials) {
    this.stop();
    this.#current = credentials;
    if (!this.#isUnknown) this.#wait();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#round = Symbol();
    this.#sent = undefined;
  }

  /**
   * @param {string | ArrayBuffer} data A frame of the server.
   * @returns {boolean} True: it was the answer to a renewal, and no other code needs it.
   */
  handles(data) {
    const sent = this.#sent;
    if (!sent || typeof data !== "string") return false;
    if (data.startsWith('{"type":"identity"')) {
      this.#hooks.renewed(sent);
      this.begin(sent);
      return true;
    }
    if (!data.startsWith('{"type":"error","code":"invalid_token"')) return false;
    this.stop();
    return true;
  }

  #wait() {
    const expiresAt = expiryOf(this.#current);
    const delay = expiresAt && renewalDelay(expiresAt - Date.now(), Math.random());
    if (delay !== undefined) this.#timer = setTimeout(() => this.#renew(), delay);
  }

  async #renew() {
    const round = (this.#round = Symbol());
    /** @type {Credentials} */
    let fresh;
    try {
      fresh = await this.#hooks.ask();
    } catch {
      // The issuer may be reachable again soon.
    }
    if (round !== this.#round) return;
    // The same token or none: ask again, sooner the less is left.
    if (!fresh || !("token" in fresh) || isSameToken(this.#current, fresh)) return this.#wait();
    this.#sent = fresh;
    this.#timer = setTimeout(() => {
      // No answer at all, so this server does not support renewal.
      this.#isUnknown = true;
      this.stop();
    }, this.#answerTimeoutMs);
    this.#hooks.send(JSON.stringify({ type: "identity", token: fresh.token }));
  }
}
