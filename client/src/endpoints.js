// @ts-check
/** The addresses of a server's rooms. */

/** Bytes of UTF-8. */
const MAX_NAME_BYTES = 128;

/**
 * Whether a room can have this name. `.` and `..` are allowed by the server, and yet a browser can never ask for
 * them: it takes them for steps in the path.
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
  // The short form is the one that every server knows.
  return new Endpoints(baseUrl, `/presence${scope === "global" ? "" : `/${segment(scope)}`}`);
}

/** @param {string | URL} baseUrl */
export function ticketsEndpoint(baseUrl) {
  return `${prefix(baseUrl)}/tickets`;
}

/**
 * The socket of a room in any namespace. It stays a path where `baseUrl` is one.
 *
 * @param {string | URL} baseUrl
 * @param {string} namespace As the server's configuration names it, or as the path spells it: in lower case, with `-`
 *   for `_`.
 * @param {string} name
 */
export function roomSocketUrl(baseUrl, namespace, name) {
  const spelled = namespace.toLowerCase().replaceAll("_", "-");
  return `${String(baseUrl).replace(/\/+$/, "")}/${segment(spelled)}/${segment(name)}/ws`;
}

/**
 * Whether an address belongs to the server at `baseUrl`: only then is it given the credentials that are meant for it.
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
  // Not by its protocol: that of a WebSocket cannot be changed to the other kind.
  return new URL(url.href.replace(/^ws/, "http"));
}

/** Made absolute when they are asked for and no earlier: a page that is rendered on a server has no location yet. */
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
