/** `Response`, and how it goes to the host. */
import type { Response as HostResponse } from "dormouse:host";

import type { WebSocket } from "../sockets/web-socket.js";
import { Body, bodyOf } from "./body.js";
import type { WholeData } from "./bytes.js";
import { Headers } from "./headers.js";
import { ReadableStream } from "./streams.js";

export interface ResponseInit {
  status?: number;
  statusText?: string;
  headers?: ConstructorParameters<typeof Headers>[0];
  webSocket?: WebSocket | null;
  cf?: unknown;
}

const WITHOUT_BODY = [101, 204, 205, 304];
const REDIRECTS = [301, 302, 303, 307, 308];

export class Response extends Body {
  readonly #status: number;
  readonly #statusText: string;
  readonly #headers: Headers;
  readonly #webSocket: WebSocket | null;
  readonly #cf: unknown;

  constructor(body: unknown = null, init: ResponseInit = {}) {
    const { data, type } = bodyOf(body);
    super(data);
    this.#status = init.status ?? 200;
    this.#webSocket = init.webSocket ?? null;
    this.#statusText = init.statusText ?? "";
    this.#cf = init.cf;
    if (!Number.isInteger(this.#status) || ((this.#status < 200 || this.#status > 599) && this.#status !== 101)) {
      throw new RangeError(
        "Responses may only be constructed with status codes in the range 200 to 599, inclusive, and 101.",
      );
    }
    if (this.#webSocket !== null && this.#status !== 101) {
      throw new RangeError("Responses with a WebSocket must have status code 101.");
    }
    if (data !== null && !(typeof data === "string" && data === "") && WITHOUT_BODY.includes(this.#status)) {
      throw new TypeError("Response with null body status (101, 204, 205, or 304) cannot have a body.");
    }
    this.#headers = new Headers(init.headers);
    if (type !== undefined && !this.#headers.has("content-type")) this.#headers.set("content-type", type);
  }

  static json(value: unknown, init: ResponseInit = {}): Response {
    const text = JSON.stringify(value);
    if (text === undefined) throw new TypeError("Response.json(): the value is not JSON");
    const headers = new Headers(init.headers);
    if (!headers.has("content-type")) headers.set("content-type", "application/json");
    return new Response(text, { ...init, headers });
  }

  static redirect(url: string, status = 302): Response {
    if (!REDIRECTS.includes(status)) throw new RangeError(`${status} is not a redirect status code`);
    return new Response(null, { status, headers: { location: new URL(String(url)).toString() } });
  }

  static error(): Response {
    return new Response(null, { status: 500 });
  }

  get status(): number {
    return this.#status;
  }

  get ok(): boolean {
    return this.#status >= 200 && this.#status < 300;
  }

  get statusText(): string {
    return this.#statusText;
  }

  get headers(): Headers {
    return this.#headers;
  }

  get webSocket(): WebSocket | null {
    return this.#webSocket;
  }

  get cf(): unknown {
    return this.#cf;
  }

  get redirected(): boolean {
    return false;
  }

  get type(): string {
    return "default";
  }

  get url(): string {
    return "";
  }

  clone(): Response {
    return new Response(Body.split(this), this);
  }

  get [Symbol.toStringTag](): string {
    return "Response";
  }
}

/** What a handler returned; the body of a response is whole then. */
export const whole = async <T>(value: T): Promise<T | Response> => {
  if (!(value instanceof Response) || !(value.data() instanceof ReadableStream)) return value;
  const { status, statusText, headers } = value;
  return new Response(await Body.whole(value), { status, statusText, headers });
};

/** A response of a handler with a whole body, as the host takes it. */
export const toHost = (response: Response): HostResponse => ({
  status: response.status,
  headers: [...response.headers],
  body: (Body.unread(response) as WholeData) ?? "",
});
