// @ts-check
/** The addresses of a server's rooms. */

/** Bytes of UTF-8. */
const LONGEST_NAME = 128;

/**
 * Whether a room can have this name. `.` and `..` are allowed by the server, and yet a browser can never ask for
 * them: it takes them for steps in the path.
 *
 * @param {string} name
 */
export function isRoomName(name) {
  if (name === "" || name === "." || name === "..") return false;
  if (/[\p{Cc}\p{Cs}/]/u.test(name)) return false;
  return new TextEncoder().encode(name).length <= LONGEST_NAME;
}

/**
 * @param {string | URL} baseUrl Such as `/api/realtime`, or absolute for another origin.
 * @param {string} roomId
 */
export function chatEndpoints(baseUrl, roomId) {
  const room = `${prefix(baseUrl)}/rooms/${segment(roomId)}`;
  return { socket: `${room}/ws`, messages: `${room}/messages` };
}

/**
 * @param {string | URL} baseUrl
 * @param {string} scope
 */
export function presenceEndpoints(baseUrl, scope) {
  // The short form is the one that every server knows.
  const room = `${prefix(baseUrl)}/presence${scope === "global" ? "" : `/${segment(scope)}`}`;
  return { socket: `${room}/ws`, list: `${room}/list` };
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
