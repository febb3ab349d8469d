// @ts-check
/**
 * Requests to the admin listener, as a signed-in operator.
 *
 * A session has two halves: a cookie that no script can read, and a value that each request has in a header. This file
 * keeps the second one. Cookies are shared by all ports of a host, local storage is not, so another server on this
 * machine gets one half at most.
 */

import { encode } from "./dom.js";

const KEY = "dormouse-session";
const HEADER = "dormouse-session";

/** An answer that is an error, or no answer. */
export class ApiError extends Error {
  /**
   * @param {number} status 0 if there is no answer.
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Called when the session has ended, so that the page can ask for the token again. */
let onSignedOut = () => {};

/** @param {() => void} listener */
export function whenSignedOut(listener) {
  onSignedOut = listener;
}

/**
 * A path from segments, each percent-encoded: `` path`/rooms/${namespace}/${name}` ``.
 *
 * @param {TemplateStringsArray} fixed
 * @param {...string} segments
 */
export function path(fixed, ...segments) {
  const encoded = segments.map((segment) => {
    // A browser takes both for steps in the path, however they are written.
    if (segment === "." || segment === "..") throw new ApiError(0, `a browser cannot ask for the name "${segment}"`);
    return encode(segment);
  });
  return String.raw({ raw: fixed }, ...encoded);
}

/**
 * @typedef {Record<string, string | number | boolean | null | undefined>} Query Absent and empty values are left out.
 */

/**
 * @param {string} path
 * @param {Query} query
 */
function address(path, query) {
  const given = Object.entries(query).flatMap(([name, value]) =>
    value === undefined || value === null || value === "" ? [] : [[name, String(value)]],
  );
  const search = new URLSearchParams(given).toString();
  // Relative to the page, so that a proxy may serve everything below a path of its own.
  return `.${path}${search && `${path.includes("?") ? "&" : "?"}${search}`}`;
}

/**
 * @param {string} method
 * @param {string} path
 * @param {Query} query
 * @param {{ body?: BodyInit, type?: string, signal?: AbortSignal | undefined }} [more]
 */
async function request(method, path, query, { body, type, signal } = {}) {
  const headers = new Headers({ [HEADER]: localStorage.getItem(KEY) ?? "" });
  if (type) headers.set("content-type", type);
  /** @type {Response} */
  let response;
  try {
    response = await fetch(address(path, query), {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
      ...(signal ? { signal } : {}),
      cache: "no-store",
      credentials: "same-origin",
      mode: "same-origin",
      redirect: "error",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "The server does not answer.");
  }
  if (response.ok) return response;
  if (response.status === 401 && path !== "/session") onSignedOut();
  throw new ApiError(response.status, await detail(response));
}

/** @param {Response} response */
async function detail(response) {
  try {
    const problem = await response.json();
    if (typeof problem.detail === "string") return /** @type {string} */ (problem.detail);
  } catch {
    // It is no problem document: a proxy may have answered.
  }
  return `The server answered ${response.status}.`;
}

/**
 * @param {string} path
 * @param {Query} [query]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function get(path, query = {}, signal) {
  return (await request("GET", path, query, { signal })).json();
}

/**
 * @param {"POST" | "DELETE"} method
 * @param {string} path
 * @param {unknown} [body] Sent as JSON; a Blob as it is.
 * @param {Query} [query]
 * @returns {Promise<any>}
 */
export async function send(method, path, body, query = {}) {
  /** @type {{ body?: BodyInit, type?: string }} */
  let sent = {};
  if (body instanceof Blob) sent = { body, type: body.type || "application/octet-stream" };
  else if (body !== undefined) sent = { body: JSON.stringify(body), type: "application/json" };
  return (await request(method, path, query, sent)).json();
}

/**
 * Reads a stream of JSON lines until it ends or is aborted.
 *
 * @param {string} path
 * @param {Query} query
 * @param {(line: any) => void} onLine
 * @param {AbortSignal} signal
 */
export async function lines(path, query, onLine, signal) {
  const response = await request("GET", path, query, { signal });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const piece = await reader?.read();
    if (!piece || piece.done) return;
    const whole = (rest + piece.value).split("\n");
    rest = whole.pop() ?? "";
    for (const line of whole) if (line) onLine(JSON.parse(line));
  }
}

/**
 * An answer as text, with its headers.
 *
 * @param {string} path
 * @param {Query} query
 * @returns {Promise<{ text: string, headers: Headers }>}
 */
export async function text(path, query) {
  const response = await request("GET", path, query);
  return { text: await response.text(), headers: response.headers };
}

/**
 * Asks for something and keeps the answer as a file of the browser's user.
 *
 * @param {string} path
 * @param {Query} query
 * @param {string} name
 * @returns {Promise<Headers>} The headers of the answer.
 */
export async function download(path, query, name) {
  const response = await request("GET", path, query);
  keep(await response.blob(), name);
  return response.headers;
}

/**
 * Offers the browser a file.
 *
 * @param {Blob} content
 * @param {string} name
 */
export function keep(content, name) {
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(content);
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 60_000);
}

/**
 * Whether this page has a session, and whether the server asks for a token.
 *
 * @returns {Promise<{ signedIn: boolean, token: boolean, version?: string }>}
 */
export function session() {
  return get("/session");
}

/**
 * @param {string} token
 * @param {string} operator The name for the audit log.
 */
export async function signIn(token, operator) {
  const { value } = await send("POST", "/session", { token, operator });
  localStorage.setItem(KEY, value);
}

export async function signOut() {
  try {
    await send("DELETE", "/session");
  } finally {
    localStorage.removeItem(KEY);
  }
}
