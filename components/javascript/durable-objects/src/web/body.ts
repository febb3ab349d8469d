/**
 * The body of a request or a response: always whole, because the host hands over whole bodies.
 *
 * `WholeBody` stands for the stream `body`: it can be handed to another request or response, and be read in one piece.
 */
import * as host from "dormouse:host";

import { unsupported } from "../unsupported.js";

export type BodyData = string | Uint8Array | null;

const FORM = "application/x-www-form-urlencoded";

/** The bytes of any value that `fetch` accepts as a body, and the content type that it implies. */
export const bodyOf = (init: unknown): { data: BodyData; type?: string } => {
  if (init === null || init === undefined) return { data: null };
  if (typeof init === "string") return { data: init, type: "text/plain;charset=UTF-8" };
  if (init instanceof Uint8Array) return { data: init.slice() };
  if (init instanceof ArrayBuffer) return { data: new Uint8Array(init.slice(0)) };
  if (ArrayBuffer.isView(init)) {
    return {
      data: new Uint8Array(init.buffer.slice(init.byteOffset, init.byteOffset + init.byteLength) as ArrayBuffer),
    };
  }
  if (init instanceof WholeBody) return { data: init.data };
  if (init instanceof URLSearchParams) return { data: String(init), type: `${FORM};charset=UTF-8` };
  const tag = Object.prototype.toString.call(init);
  if (["[object ReadableStream]", "[object FormData]", "[object Blob]"].includes(tag)) {
    unsupported(`a body of ${tag.slice(8, -1)}`, "pass a string, an ArrayBuffer or a view of one");
  }
  return { data: String(init), type: "text/plain;charset=UTF-8" };
};

/** In place of a `ReadableStream`: one chunk. */
export class WholeBody {
  locked = false;
  readonly data: string | Uint8Array;

  constructor(data: string | Uint8Array) {
    this.data = data;
  }

  getReader() {
    this.locked = true;
    let isDone = false;
    return {
      read: async () => {
        if (isDone) return { done: true, value: undefined };
        isDone = true;
        return { done: false, value: bytesOf(this.data) };
      },
      cancel: async () => {},
      releaseLock: () => {
        this.locked = false;
      },
      closed: Promise.resolve(),
    };
  }

  async cancel(): Promise<void> {}

  async *[Symbol.asyncIterator]() {
    yield bytesOf(this.data);
  }

  pipeTo(): never {
    return noStream("pipeTo");
  }

  pipeThrough(): never {
    return noStream("pipeThrough");
  }

  tee(): never {
    return noStream("tee");
  }

  get [Symbol.toStringTag](): string {
    return "WholeBody";
  }
}

const noStream = (name: string): never =>
  unsupported(`body.${name}()`, "bodies are whole here; read them with text(), json() or arrayBuffer()");

/** What `Request` and `Response` have in common. */
export class Body {
  #data: BodyData;
  #isUsed = false;

  constructor(data: BodyData) {
    this.#data = data;
  }

  /** The data of a body that stays unread. */
  static unread(body: Body): BodyData {
    if (body.#isUsed) throw new TypeError("Body has already been used. It can only be used once.");
    return body.#data;
  }

  get bodyUsed(): boolean {
    return this.#isUsed;
  }

  get body(): WholeBody | null {
    return this.#data === null ? null : new WholeBody(this.#data);
  }

  async text(): Promise<string> {
    return textOf(this.#take());
  }

  async json(): Promise<unknown> {
    return JSON.parse(textOf(this.#take()));
  }

  async bytes(): Promise<Uint8Array> {
    return bytesOf(this.#take());
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    const { buffer, byteOffset, byteLength } = bytesOf(this.#take());
    return buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
  }

  async formData(): Promise<never> {
    return unsupported("formData()", "read text() and parse it, with URLSearchParams for a plain form");
  }

  async blob(): Promise<never> {
    return unsupported("blob()", "read arrayBuffer()");
  }

  #take(): string | Uint8Array {
    const data = Body.unread(this) ?? "";
    this.#isUsed = this.#data !== null;
    return data;
  }
}

export const bytesOf = (data: BodyData): Uint8Array =>
  data === null ? new Uint8Array() : typeof data === "string" ? host.utf8(data) : data;

export const textOf = (data: BodyData): string =>
  data === null ? "" : typeof data === "string" ? data : host.text(data).replace(/^\ufeff/, "");
