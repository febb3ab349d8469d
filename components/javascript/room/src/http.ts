/** Requests of clients, and the room's answers. Both are whole and synchronous. */
import * as host from "dormouse:host";

import { ClientError } from "./errors.js";

/** The parameters of a query. */
export interface Query extends Iterable<[string, string]> {
  /** The first value of a parameter; `null` if there is none. */
  get(name: string): string | null;
  getAll(name: string): string[];
  has(name: string): boolean;
}

/** One HTTP request. */
export class Request {
  readonly method: string;
  /** Begins with a slash. A room gets the path that its router chose. */
  readonly path: string;
  /** The user as the host verified it; absent without a valid identity. */
  readonly user: host.User | undefined;
  readonly body: Uint8Array;
  readonly #query: string | undefined;
  readonly #headers: [string, string][];

  constructor(request: host.Request) {
    this.method = request.method;
    this.path = request.path;
    this.user = request.user;
    this.body = request.body;
    this.#query = request.query;
    this.#headers = request.headers;
  }

  get query(): Query {
    return new URLSearchParams(this.#query ?? "");
  }

  /** The value of a header, by its name in lower case. */
  header(name: string): string | undefined {
    return this.#headers.find(([known]) => known === name)?.[1];
  }

  text(): string {
    return host.text(this.body);
  }

  /** The body as JSON. Throws a `ClientError` if it is none. */
  json(): unknown {
    try {
      return JSON.parse(this.text());
    } catch {
      throw new ClientError("bad_json", "the body is not JSON");
    }
  }
}

/** One HTTP response. A value that is neither text nor bytes is sent as JSON. */
export class Response {
  readonly status: number;
  readonly body: string | Uint8Array;
  readonly headers: Record<string, string>;

  constructor(status: number, body?: unknown, headers: Record<string, string> = {}) {
    const isText = typeof body === "string";
    const isRaw = isText || body instanceof Uint8Array;
    this.status = status;
    this.body = body === undefined ? "" : isRaw ? body : jsonOf(body);
    const type = isText ? "text/plain;charset=utf-8" : "application/json";
    this.headers = body === undefined || body instanceof Uint8Array ? headers : { "content-type": type, ...headers };
  }

  /** A problem document, RFC 9457. `members` are added to it. */
  static problem(status: number, detail: string, members: Record<string, unknown> = {}): Response {
    const title = TITLES[status] ?? "Error";
    const body = { type: "about:blank", title, status, detail, ...members };
    return new Response(status, body, { "content-type": "application/problem+json" });
  }
}

/** HTTP's phrases for the statuses that rooms answer with. */
const TITLES: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  503: "Service Unavailable",
};

/** What a room's `request` returns, as the host takes it: a `Response`, or a value that is sent as JSON. */
export const toHost = (answer: unknown): host.Response => {
  const { status, headers, body } = answer instanceof Response ? answer : new Response(200, answer);
  return { status, headers: Object.entries(headers), body };
};

const jsonOf = (value: unknown): string => {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`${String(value)} is no response: it is not JSON`);
  return text;
};
