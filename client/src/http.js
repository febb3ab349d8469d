// @ts-check
/** HTTP requests besides the socket: with the same credentials, and errors that keep the server's text. */

import { CloseCode, closeFromStatus } from "./close-codes.js";
import { forRequest } from "./credentials.js";
import { ticketsEndpoint } from "./endpoints.js";
import { problemText, readTicket } from "./protocol.js";

/** @typedef {import("./credentials.js").Credentials} Credentials */

export class HttpError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.name = "HttpError";
    this.status = status;
  }
}

/**
 * @param {string | URL} url
 * @param {Credentials} credentials
 * @returns {Promise<unknown>} Not checked yet.
 */
export async function getJson(url, credentials) {
  return read(await get(url, credentials));
}

/**
 * Sends a request that changes something, and that may be repeated.
 *
 * @param {"POST" | "DELETE"} method
 * @param {string | URL} url
 * @param {Credentials} credentials
 * @param {unknown} [body] Sent as JSON.
 * @returns {Promise<unknown>} Not checked yet.
 */
export async function sendJson(method, url, credentials, body) {
  const request = forRequest(url, credentials);
  const headers = new Headers({ Accept: "application/json", ...request.headers });
  if (body !== undefined) headers.set("Content-Type", "application/json");
  const content = body === undefined ? {} : { body: JSON.stringify(body) };
  return read(await fetch(request.url, { method, headers, ...content, credentials: "include", cache: "no-store" }));
}

/**
 * A ticket for one connection or request. For a page that the server knows by a cookie of another origin, or whose
 * token must not be a subprotocol. Call it from a `credentials` function.
 *
 * @param {string | URL} baseUrl
 * @param {Credentials} [credentials] Without them the browser's cookie is used.
 * @returns {Promise<{ ticket: string }>}
 */
export async function fetchTicket(baseUrl, credentials) {
  const { url, headers } = forRequest(ticketsEndpoint(baseUrl), credentials);
  const answer = await fetch(url, { method: "POST", headers, credentials: "include", cache: "no-store" });
  const { ticket } = readTicket(await read(answer));
  return { ticket };
}

/**
 * Asks over HTTP why an upgrade was refused.
 *
 * @param {string | URL} url
 * @param {Credentials} credentials
 * @throws If the server cannot be reached, or only a proxy in front of it answers.
 */
export async function explainRefusal(url, credentials) {
  // A used ticket would be refused here in any case. The server issued it, so it is reachable.
  if (credentials && "ticket" in credentials) return undefined;
  const response = await get(url, credentials);
  void response.body?.cancel();
  const close = closeFromStatus(response.status, response.headers.get("Retry-After"));
  if (!close && response.status >= 500) throw new HttpError(response.status, "the server is not there");
  return close;
}

/** The answer of a socket's URL to a request that is not an upgrade. */
const UPGRADE_REQUIRED = 426;

/**
 * Asks the socket's own URL why an upgrade was refused, for a room without other known routes. The reason has its text.
 *
 * @param {string | URL} url Of the socket.
 * @param {Credentials} credentials
 * @returns {Promise<import("./close-codes.js").Close | undefined>} `undefined` if an upgrade would be accepted.
 * @throws If the server cannot be reached, or only a proxy in front of it answers.
 */
export async function explainUpgrade(url, credentials) {
  if (credentials && "ticket" in credentials) return undefined;
  const target = new URL(url, globalThis.location?.href);
  const response = await get(target.href.replace(/^ws/, "http"), credentials);
  if (response.ok || response.status === UPGRADE_REQUIRED) return void response.body?.cancel();
  const words = problemText(await response.json().catch(() => undefined));
  const close = closeFromStatus(response.status, response.headers.get("Retry-After"));
  if (!close && response.status >= 500) throw new HttpError(response.status, words ?? "the server is not there");
  const { code, reason } = close ?? { code: CloseCode.lost, reason: `HTTP ${response.status}` };
  return { code, reason: words === undefined ? reason : `${reason}; ${words}` };
}

/**
 * @param {Response} response
 * @returns {Promise<unknown>}
 */
async function read(response) {
  if (response.ok) return response.json();
  const problem = await response.json().catch(() => undefined);
  throw new HttpError(response.status, problemText(problem) ?? `the server answered ${response.status}`);
}

/**
 * @param {string | URL} url
 * @param {Credentials} credentials
 */
function get(url, credentials) {
  const request = forRequest(url, credentials);
  const headers = { Accept: "application/json", ...request.headers };
  // An upgrade sends the cookie to another origin too, and this request must come from the same user.
  return fetch(request.url, { headers, credentials: "include", cache: "no-store" });
}
