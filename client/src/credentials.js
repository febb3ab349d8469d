// @ts-check
/**
 * Decides where each kind of credential goes in a request. A browser cannot set headers on a WebSocket upgrade, so
 * there a token is a subprotocol; over HTTP it is in `Authorization`.
 */

/**
 * `token`: a bearer token, such as a JWT. `ticket`: from `fetchTicket`, valid for one connection or request.
 * `devToken`: `USERID:USERNAME`, only for a server in dev auth. Nothing: the cookie identifies the user.
 * @typedef {{ token: string } | { ticket: string } | { devToken: string } | Record<string, never> | null | undefined}
 *   Credentials
 */

/**
 * `refused`: the server refused the last credentials; if the same come again, the socket closes. `expiring`: the last
 * ones are still valid, and new ones replace them on the open connection; if the same come again, nothing changes.
 * @typedef {{ refused: boolean, expiring?: boolean }} CredentialsRequest
 */

/** A token by RFC 9110, which a subprotocol name must be. */
const SUBPROTOCOL_TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** Printable ASCII: every server reads it in the same way in a header. */
const PLAIN_HEADER = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;

/**
 * @param {string | URL} url
 * @param {Credentials} credentials
 * @returns {{ url: string, protocols: string[] }}
 */
export function forUpgrade(url, credentials) {
  const target = new URL(url);
  const token = kind(credentials, "token");
  const ticket = kind(credentials, "ticket");
  const devToken = kind(credentials, "devToken");
  if (ticket !== undefined) target.searchParams.set("ticket", ticket);
  if (devToken !== undefined) target.searchParams.set("token", devToken);
  if (token === undefined) return { url: target.href, protocols: [] };
  if (!SUBPROTOCOL_TOKEN.test(token)) {
    throw new TypeError("this token cannot travel in a subprotocol; pass a JWT, a ticket or a devToken");
  }
  return { url: target.href, protocols: ["dormouse", `bearer.${token}`] };
}

/**
 * @param {string | URL} url
 * @param {Credentials} credentials
 * @returns {{ url: string, headers: Record<string, string> }}
 */
export function forRequest(url, credentials) {
  const target = new URL(url);
  const token = kind(credentials, "token");
  const ticket = kind(credentials, "ticket");
  const devToken = kind(credentials, "devToken");
  if (ticket !== undefined) target.searchParams.set("ticket", ticket);
  if (token !== undefined) return { url: target.href, headers: { Authorization: `Bearer ${token}` } };
  if (devToken === undefined) return { url: target.href, headers: {} };
  if (PLAIN_HEADER.test(devToken)) return { url: target.href, headers: { Authorization: `Bearer ${devToken}` } };
  target.searchParams.set("token", devToken);
  return { url: target.href, headers: {} };
}

/**
 * Whether these are certainly the refused credentials. A cookie may have been renewed unseen, so credentials without a
 * token prove nothing.
 *
 * @param {Credentials} refused
 * @param {Credentials} fresh
 */
export function isSameToken(refused, fresh) {
  const tokenOf = (/** @type {Credentials} */ some) =>
    kind(some, "token") ?? kind(some, "devToken") ?? kind(some, "ticket");
  return tokenOf(fresh) !== undefined && tokenOf(fresh) === tokenOf(refused);
}

/**
 * The user that these credentials name. Nothing is verified here: the server does that, and this only decides which
 * messages are shown as the user's own.
 *
 * @param {Credentials} credentials
 * @returns {{ userId: string, userName: string } | undefined}
 */
export function userOf(credentials) {
  const devToken = kind(credentials, "devToken");
  if (devToken !== undefined) {
    const [, userId = "", userName = ""] = /^([^:]*):?([^]*)$/.exec(devToken) ?? [];
    return { userId, userName: userName || userId };
  }
  const { sub, name } = claimsOf(kind(credentials, "token") ?? "");
  if (typeof sub !== "string") return undefined;
  return { userId: sub, userName: typeof name === "string" && name !== "" ? name : sub };
}

/**
 * A name for the user of these credentials: the same in all tabs of one user, and different for another user.
 *
 * @param {Credentials} credentials
 * @param {string} [userId] If it is known from elsewhere.
 */
export function listenerOf(credentials, userId) {
  const known = userId ?? userOf(credentials)?.userId;
  if (known !== undefined) return `user ${known}`;
  const token = kind(credentials, "token");
  // A cookie, or a ticket that was fetched with one: all tabs have the same cookie.
  return token === undefined ? "cookie" : `token ${digestOf(token)}`;
}

/**
 * A short hash that distinguishes tokens and reveals none. It only decides which tabs share a stream.
 *
 * @param {string} token
 */
function digestOf(token) {
  let [one, two] = [0x811c9dc5, 0x9e3779b9];
  for (let index = 0; index < token.length; index += 1) {
    one = Math.imul(one ^ token.charCodeAt(index), 0x01000193);
    two = Math.imul(two ^ token.charCodeAt(index), 0x85ebca6b);
  }
  return `${(one >>> 0).toString(16)}${(two >>> 0).toString(16)}`;
}

/**
 * When a token expires, if it says so itself.
 *
 * @param {Credentials} credentials
 * @returns {number | undefined} Unix milliseconds.
 */
export function expiryOf(credentials) {
  const { exp } = claimsOf(kind(credentials, "token") ?? "");
  return typeof exp === "number" ? exp * 1000 : undefined;
}

/**
 * @param {string} token
 * @returns {Record<string, unknown>}
 */
function claimsOf(token) {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {};
  }
}

/**
 * @param {Credentials} credentials
 * @param {"token" | "ticket" | "devToken"} name
 * @returns {string | undefined}
 */
function kind(credentials, name) {
  return /** @type {Record<string, string> | null | undefined} */ (credentials)?.[name];
}
