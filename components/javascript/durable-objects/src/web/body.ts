/**
 * The body of a request or a response. The host hands over whole bodies, and takes whole ones: a body that the author
 * makes of a stream is collected before it leaves.
 */
import { Blob, joined } from "./blob.js";
import { bytesOf, textOf, type WholeData } from "./bytes.js";
import { encodeForm, FormData, parseForm } from "./form-data.js";
import { isDisturbed, ReadableStream, streamOf, wholeOf } from "./streams.js";

export type BodyData = WholeData | ReadableStream;

const FORM = "application/x-www-form-urlencoded";

const USED = "Body has already been used. It can only be used once.";

/** The data of any value that `fetch` accepts as a body, and the content type that it implies. */
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
  if (init instanceof ReadableStream) {
    if (init.locked || isDisturbed(init))
      throw new TypeError("This ReadableStream is disturbed (has already been read).");
    return { data: wholeOf(init) ?? init };
  }
  if (init instanceof Blob) return { data: Blob.bytes(init), ...(init.type === "" ? {} : { type: init.type }) };
  if (init instanceof FormData) {
    const { bytes, type } = encodeForm(init);
    return { data: bytes, type };
  }
  if (init instanceof URLSearchParams) return { data: String(init), type: `${FORM};charset=UTF-8` };
  return { data: String(init), type: "text/plain;charset=UTF-8" };
};

/** What `Request` and `Response` have in common. */
export abstract class Body {
  #data: BodyData;
  #isUsed = false;
  #stream: ReadableStream | undefined;

  constructor(data: BodyData) {
    this.#data = data;
    if (data instanceof ReadableStream) this.#stream = data;
  }

  abstract get headers(): { get(name: string): string | null };

  /** The data of a body that stays unread. */
  static unread(body: Body): BodyData {
    return body.data();
  }

  /** As `unread`; a stream is collected, and the body is used then. */
  static async whole(body: Body): Promise<WholeData> {
    const data = body.data();
    return data instanceof ReadableStream ? bytesOf(await body.#take()) : data;
  }

  /** Two bodies with the data of this one, which stays usable: a stream is split. */
  static split(body: Body): BodyData {
    const data = body.data();
    if (!(data instanceof ReadableStream)) return data;
    const [mine, other] = data.tee();
    body.#data = body.#stream = mine;
    return other;
  }

  data(): BodyData {
    if (this.bodyUsed || this.#stream?.locked) throw new TypeError(USED);
    return this.#data;
  }

  get bodyUsed(): boolean {
    return this.#isUsed || (this.#stream !== undefined && isDisturbed(this.#stream));
  }

  get body(): ReadableStream | null {
    if (this.#data === null) return null;
    return (this.#stream ??= streamOf(this.#data as string | Uint8Array, bytesOf));
  }

  async text(): Promise<string> {
    return textOf(await this.#take());
  }

  async json(): Promise<any> {
    return JSON.parse(textOf(await this.#take()));
  }

  async bytes(): Promise<Uint8Array> {
    return bytesOf(await this.#take());
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    const { buffer, byteOffset, byteLength } = bytesOf(await this.#take());
    return buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
  }

  async formData(): Promise<FormData> {
    const type = this.headers.get("content-type");
    return parseForm(bytesOf(await this.#take()), type);
  }

  async blob(): Promise<Blob> {
    const type = this.headers.get("content-type") ?? "";
    return new Blob([bytesOf(await this.#take())], { type });
  }

  async #take(): Promise<WholeData> {
    const data = this.data();
    this.#isUsed = data !== null;
    return data instanceof ReadableStream ? collected(data) : data;
  }
}

const collected = async (stream: ReadableStream): Promise<Uint8Array> => {
  const pieces: Uint8Array[] = [];
  for await (const chunk of stream) {
    if (typeof chunk === "string") pieces.push(bytesOf(chunk));
    else if (chunk instanceof Uint8Array) pieces.push(chunk);
    else if (chunk instanceof ArrayBuffer) pieces.push(new Uint8Array(chunk));
    else if (ArrayBuffer.isView(chunk)) pieces.push(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    else throw new TypeError("This ReadableStream did not return bytes.");
  }
  return pieces.length === 1 ? (pieces[0] as Uint8Array) : joined(pieces);
};
