// @ts-check
/** Plain requests beside the socket: with the same credentials, and errors that keep what the server said. */

import { closeOfStatus } from "./close-codes.js";
import { forRequest } from "./credentials.js";

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
 * @returns {Promise<any>}
 */
export async function getJson(url, credentials) {
  const response = await get(url, credentials);
  if (response.ok) return response.json();
  const problem = await response.json().catch(() => ({}));
  throw new HttpError(response.status, problem.detail ?? problem.title ?? `the server answered ${response.status}`);
}

/**
 * Why an upgrade was refused, as far as the same question over plain HTTP can tell.
 *
 * @param {string | URL} url
 * @param {Credentials} credentials
 */
export async function explainRefusal(url, credentials) {
  // A ticket is spent, and would be refused here whatever the cause was.
  if (credentials && "ticket" in credentials) return undefined;
  const response = await get(url, credentials);
  void response.body?.cancel();
  return closeOfStatus(response.status, response.headers.get("Retry-After"));
}

/**
 * @param {string | URL} url
 * @param {Credentials} credentials
 */
function get(url, credentials) {
  const request = forRequest(url, credentials);
  return fetch(request.url, { headers: { Accept: "application/json", ...request.headers }, cache: "no-store" });
}
