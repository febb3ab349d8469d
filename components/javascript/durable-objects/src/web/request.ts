/** `Request`, and how it comes from the host and goes back to it. */
import type { Request as HostRequest, User } from "dormouse:host";

import { Body, bodyOf } from "./body.js";
import { bytesOf, type WholeData } from "./bytes.js";
import { AbortSignal } from "./events.js";
import { Headers } from "./headers.js";

export interface RequestInit {
  method?: string;
  headers?: ConstructorParameters<typeof Headers>[0];
  body?: unknown;
  redirect?: string;
  cf?: unknown;
  signal?: unknown;
  user?: User;
}

export class Request extends Body {
  readonly url: string;
  readonly method: string;
  readonly headers: Headers;
  readonly redirect: string;
  readonly cf: unknown;
  /** The user as the host verified it; absent without a valid identity. */
  readonly user: User | undefined;
  #signal: AbortSignal | undefined;

  constructor(input: Request | URL | string, init: RequestInit = {}) {
    const from = input instanceof Request ? input : undefined;
    const hasOwnBody = init.body !== undefined && init.body !== null;
    const { data, type } = hasOwnBody ? bodyOf(init.body) : { data: from ? Body.split(from) : null, type: undefined };
    super(data);
    this.url = from ? from.url : urlOf(input as URL | string);
    this.method = methodOf(init.method ?? from?.method ?? "GET");
    this.headers = new Headers(init.headers ?? from?.headers);
    this.redirect = init.redirect ?? from?.redirect ?? "follow";
    this.#signal = (init.signal ?? (from ? from.#signal : undefined)) as AbortSignal | undefined;
    this.cf = init.cf ?? from?.cf;
    this.user = init.user ?? from?.user;
    if (data !== null && (this.method === "GET" || this.method === "HEAD")) {
      throw new TypeError("Request with a GET or HEAD method cannot have a body.");
    }
    if (type !== undefined && !this.headers.has("content-type")) this.headers.set("content-type", type);
  }

  /** Without one of the author's it never fires: a client that leaves does not end a turn. */
  get signal(): AbortSignal {
    return (this.#signal ??= new AbortSignal());
  }

  get keepalive(): boolean {
    return false;
  }

  get integrity(): string {
    return "";
  }

  get cache(): string {
    return "default";
  }

  clone(): Request {
    return new Request(this);
  }

  get [Symbol.toStringTag](): string {
    return "Request";
  }
}

const urlOf = (input: URL | string): string => {
  try {
    return new URL(String(input)).toString();
  } catch {
    throw new TypeError(`Invalid URL: ${String(input)}`);
  }
};

/** The methods that `fetch` writes in upper case. */
const COMMON_METHODS = /^(delete|get|head|options|post|put)$/i;

const methodOf = (method: string): string => (COMMON_METHODS.test(method) ? method.toUpperCase() : String(method));

/** A request of the host, as handlers get it. `query` takes the place of its own, if it is given. */
export const fromHost = (request: HostRequest, query = request.query): Request => {
  const name = request.headers.find(([header]) => header === "host")?.[1] ?? "room";
  const hasBody = request.method !== "GET" && request.method !== "HEAD" && request.body.length > 0;
  return new Request(`http://${name}${request.path}${query === undefined ? "" : `?${query}`}`, {
    method: request.method,
    headers: request.headers,
    user: request.user,
    cf: {}, // Cloudflare's network writes where the client is; here nothing does
    ...(hasBody ? { body: request.body } : {}),
  });
};

/** A request for a room, as the host takes it. The host of its URL does not matter. */
export const toHost = (request: Request, body = Body.unread(request) as WholeData): HostRequest => {
  const url = new URL(request.url);
  return {
    method: request.method.toUpperCase(),
    path: url.pathname,
    ...(url.search === "" ? {} : { query: url.search.slice(1) }),
    headers: [...request.headers],
    body: bytesOf(body),
    ...(request.user === undefined ? {} : { user: request.user }),
  };
};
