// @ts-check
/**
 * A new token for a WebSocket that is open, before the old one expires: so the end of a token is not the end of its
 * socket. The server answers in kind. Where it does not, or there is no new token, nothing is lost: then the socket is
 * closed with 4401 when the time comes, and RoomSocket asks for fresh credentials as ever.
 */

import { expiryOf, isSameToken } from "./credentials.js";

/** When a long-lived token is renewed: after so much of what is left of it. */
const RENEW_AFTER = 0.8;
/** What then must still be left, ms: time to find the issuer, and to find it again. */
const RENEW_MARGIN_MS = 30_000;
/** A token that lives for less than a minute is renewed after so much of it, or it would be renewed without a pause. */
const RENEW_AFTER_SHORT = 0.5;
/** Chance takes up to so much off, so that not everybody who came in at once asks at once. */
const JITTER = 0.1;
/** What is left when asking for another one is over, ms. */
const TOO_LATE_MS = 2_000;
/** The longest wait, ms: timers overflow at 24 days, and clocks are set. */
const MAX_WAIT_MS = 86_400_000;

/**
 * How long to wait before a token is renewed.
 *
 * @param {number} left What is left of its life, ms.
 * @param {number} chance From 0 to 1.
 * @returns {number | undefined} ms; nothing, where it is too late.
 */
export function renewalDelay(left, chance) {
  if (!(left > TOO_LATE_MS)) return undefined;
  const life = Math.min(left, 3 * MAX_WAIT_MS); // even where a token is good for ever
  const due = Math.max(Math.min(life * RENEW_AFTER, life - RENEW_MARGIN_MS), life * RENEW_AFTER_SHORT);
  return Math.min(due - life * JITTER * chance, MAX_WAIT_MS);
}

/**
 * @typedef {import("./credentials.js").Credentials} Credentials
 *
 * @typedef {Object} RenewalHooks
 * @property {() => Promise<Credentials>} ask For credentials, because those that there are will expire.
 * @property {(frame: string) => void} send
 * @property {(credentials: Credentials) => void} renewed The server has taken these in the place of the old ones.
 */

export class Renewal {
  #hooks;
  #answerTimeoutMs;
  /** @type {Credentials} */
  #current;
  /** What the server was sent, and has not answered. @type {Credentials} */
  #sent;
  /** Only the newest may go on after a wait. */
  #round = Symbol();
  /** The one deadline there is at a time: to renew, or to be answered. @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #isUnknown = false;

  /**
   * @param {RenewalHooks} hooks
   * @param {number} answerTimeoutMs How long an answer may take.
   */
  constructor(hooks, answerTimeoutMs) {
    this.#hooks = hooks;
    this.#answerTimeoutMs = answerTimeoutMs;
  }

  /** @param {Credentials} credentials Those by which a WebSocket has just been opened. */
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
   * @param {string | ArrayBuffer} data What the server said.
   * @returns {boolean} It was about this, and nobody else's business.
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
      // Whoever gives them may be back soon.
    }
    if (round !== this.#round) return;
    // The same again, or none: ask once more, the sooner the less is left.
    if (!fresh || !("token" in fresh) || isSameToken(this.#current, fresh)) return this.#wait();
    this.#sent = fresh;
    this.#timer = setTimeout(() => {
      // It was not even refused: a server that does not know this.
      this.#isUnknown = true;
      this.stop();
    }, this.#answerTimeoutMs);
    this.#hooks.send(JSON.stringify({ type: "identity", token: fresh.token }));
  }
}
