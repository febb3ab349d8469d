// @ts-check
/**
 * Who the reader is. In dev auth anybody is whoever they say; with JWTs a token says it, or a cookie that this page
 * cannot read.
 */

import { recall, remember } from "./memory.js";

/**
 * @typedef {import("/client/index.js").Credentials} Credentials
 * @typedef {{ userId: string, userName: string }} User
 */

export class DevIdentity {
  /** `?user=` makes a second tab somebody else; otherwise all tabs of a browser are one user. */
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

  /** What the name field shows to begin with. */
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
  #recognised;

  /** Kept in the tab alone: a token is worth more than a name. */
  get token() {
    return recall("token", "sessionStorage") || undefined;
  }

  set token(token) {
    this.#recognised = undefined;
    remember("token", token ?? "", "sessionStorage");
  }

  get userId() {
    return this.#recognised?.userId ?? this.#claim("sub");
  }

  get userName() {
    return this.#recognised?.userName ?? this.#claim("name") ?? this.userId;
  }

  /**
   * Behind a cookie we learn who we are from the first thing that we are known to have said.
   *
   * @param {User} user
   */
  recognise({ userId, userName }) {
    this.#recognised = { userId, userName };
  }

  /** @returns {Credentials} */
  get credentials() {
    return this.token === undefined ? undefined : { token: this.token };
  }

  /**
   * Read without being verified: the server does that, and here it only decides what is shown as one's own.
   *
   * @param {string} name
   * @returns {string | undefined}
   */
  #claim(name) {
    try {
      const payload = (this.token?.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
      const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
      const claim = JSON.parse(new TextDecoder().decode(bytes))[name];
      return typeof claim === "string" ? claim : undefined;
    } catch {
      return undefined;
    }
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
