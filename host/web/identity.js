// @ts-check
/**
 * The reader's identity. In dev auth it is the name that they type. With JWTs it comes from a token, or from a cookie
 * that this page cannot read.
 */

import { userOf } from "/client/index.js";
import { recall, remember } from "./memory.js";

/**
 * @typedef {import("/client/index.js").Credentials} Credentials
 * @typedef {{ userId: string, userName: string }} User
 */

export class DevIdentity {
  /** `?user=` makes a second tab another user; otherwise all tabs of a browser are one user. */
  #guest = new URLSearchParams(location.search).get("user")?.replaceAll(":", "").trim() || undefined;
  #userId = this.#guest ?? ownId();

  get userId() {
    return this.#userId;
  }

  get userName() {
    return recall(`name.${this.#userId}`);
  }

  set userName(name) {
    remember(`name.${this.#userId}`, name ?? "");
  }

  /** The first value of the name field. */
  get suggestion() {
    return this.userName ?? this.#guest ?? "";
  }

  /** @returns {Credentials} */
  get credentials() {
    return { devToken: `${this.#userId}:${this.userName}` };
  }
}

export class TokenIdentity {
  /** @type {User | undefined} */
  #learned;

  /** Kept only in this tab: a stolen token does more harm than a name. */
  get token() {
    return recall("token", "sessionStorage") || undefined;
  }

  set token(token) {
    this.#learned = undefined;
    remember("token", token ?? "", "sessionStorage");
  }

  get userId() {
    return this.#user?.userId;
  }

  get userName() {
    return this.#user?.userName;
  }

  /**
   * With a cookie the page learns its user from the first message that it is known to have sent.
   *
   * @param {User} user
   */
  learnUser({ userId, userName }) {
    this.#learned = { userId, userName };
  }

  /** @returns {Credentials} */
  get credentials() {
    return this.token === undefined ? undefined : { token: this.token };
  }

  get #user() {
    return this.#learned ?? userOf(this.credentials);
  }
}

function ownId() {
  const known = recall("user");
  if (known) return known;
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  const id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  remember("user", id);
  return id;
}
