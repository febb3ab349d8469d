// @ts-check
/** The URLs of a server's rooms. */

/** Bytes of UTF-8. */
const MAX_NAME_BYTES = 128;

/**
 * Whether a room can have this name. The server allows `.` and `..`, but a browser cannot request them: it resolves
 * them as steps in the path.
 *
 * @param {string} name
 */
export function isRoomName(name) {
  if (name === "" || name === "." || name === "..") return false;
  if (/[\p{Cc}\p{Cs}/]/u.test(name)) return false;
  return new TextEncoder().encode(name).length <= MAX_NAME_BYTES;
}

/**
 * @param {string | URL} baseUrl Such as `/api/realtime`, or absolute for another origin.
 * @param {string} roomId
 */
export function chatEndpoints(baseUrl, roomId) {
  return new Endpoints(baseUrl, `/rooms/${segment(roomId)}`);
}

/**
 * @param {string | URL} baseUrl
 * @param {string} scope
 */
export function presenceEndpoints(baseUrl, scope) {
  // Every server knows the short form.
  return new Endpoints(baseUrl, `/presence${scope === "global" ? "" : `/${segment(scope)}`}`);
}

/** @param {string | URL} baseUrl */
export function ticketsEndpoint(baseUrl) {
  return `${prefix(baseUrl)}/tickets`;
}

/**
 * The socket URL of a room in any namespace. It is a path if `baseUrl` is one.
 *
 * @param {string | URL} baseUrl
 * @param {string} namespace As in the server's configuration, or as in the path: in lower case, with `-` for `_`.
 * @param {string} name
 */
export function roomSocketUrl(baseUrl, namespace, name) {
  const spelled = namespace.toLowerCase().replaceAll("_", "-");
  return `${String(baseUrl).replace(/\/+$/, "")}/${segment(spelled)}/${segment(name)}/ws`;
}

/**
 * Whether a URL belongs to the server at `baseUrl`. Credentials are sent to no other server.
 *
 * @param {string | URL} url
 * @param {string | URL} baseUrl
 */
export function isWithin(url, baseUrl) {
  const [target, base] = [overHttp(new URL(url, globalThis.location?.href)), overHttp(new URL(prefix(baseUrl)))];
  return target.origin === base.origin && `${target.pathname}/`.startsWith(`${base.pathname.replace(/\/+$/, "")}/`);
}

/** @param {URL} url */
function overHttp(url) {
  // By text: the URL class does not let `ws` change to `http`.
  return new URL(url.href.replace(/^ws/, "http"));
}

/** URLs become absolute only on use: a page that is rendered on a server has no location yet. */
class Endpoints {
  #baseUrl;
  #path;

  /**
   * @param {string | URL} baseUrl
   * @param {string} path
   */
  constructor(baseUrl, path) {
    this.#baseUrl = baseUrl;
    this.#path = path;
  }

  get socket() {
    return this.#at("/ws");
  }

  get events() {
    return this.#at("/events");
  }

  get messages() {
    return this.#at("/messages");
  }

  get mutes() {
    return this.#at("/mutes");
  }

  /** @param {string} id */
  message(id) {
    return this.#at(`/messages/${encodeURIComponent(id)}`);
  }

  get list() {
    return this.#at("/list");
  }

  get update() {
    return this.#at("/update");
  }

  /** @param {string} what */
  #at(what) {
    return `${prefix(this.#baseUrl)}${this.#path}${what}`;
  }
}

/** @param {string | URL} baseUrl */
function prefix(baseUrl) {
  return new URL(baseUrl, globalThis.location?.href).href.replace(/\/+$/, "");
}

/** @param {string} name */
function segment(name) {
  if (!isRoomName(name)) throw new TypeError(`no room can be named ${JSON.stringify(name)}`);
  return encodeURIComponent(name);
}
