/** `Blob` and `File`: bytes with a type, whole in memory. */
import * as host from "dormouse:host";

import { bytesOf } from "./bytes.js";
import { type ReadableStream, streamOf } from "./streams.js";

type Part = string | ArrayBuffer | ArrayBufferView | Blob;

export class Blob {
  readonly #bytes: Uint8Array;
  readonly #type: string;

  constructor(parts: Iterable<Part> = [], { type = "", endings }: { type?: string; endings?: string } = {}) {
    if (typeof parts !== "object" || parts === null || !(Symbol.iterator in parts)) {
      throw new TypeError("new Blob(): the parts are no list");
    }
    void endings; // "native" and "transparent" are the same here
    this.#bytes = joined([...parts].map(partOf));
    this.#type = /^[\x20-\x7e]*$/.test(type) ? type.toLowerCase() : "";
  }

  static bytes(blob: Blob): Uint8Array {
    return blob.#bytes;
  }

  get size(): number {
    return this.#bytes.length;
  }

  get type(): string {
    return this.#type;
  }

  slice(start = 0, end = this.size, type = ""): Blob {
    return new Blob([this.#bytes.slice(start, end)], { type });
  }

  stream(): ReadableStream<Uint8Array> {
    return streamOf(this.#bytes.slice(), bytesOf);
  }

  async text(): Promise<string> {
    return host.text(this.#bytes).replace(/^\ufeff/, "");
  }

  async bytes(): Promise<Uint8Array> {
    return this.#bytes.slice();
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    return this.#bytes.slice().buffer as ArrayBuffer;
  }

  get [Symbol.toStringTag](): string {
    return "Blob";
  }
}

export class File extends Blob {
  readonly name: string;
  readonly lastModified: number;

  constructor(parts: Iterable<Part>, name: string, options: { type?: string; lastModified?: number } = {}) {
    super(parts, options);
    this.name = String(name);
    this.lastModified = options.lastModified ?? Date.now();
  }

  override get [Symbol.toStringTag](): string {
    return "File";
  }
}

const partOf = (part: Part): Uint8Array => {
  if (part instanceof Blob) return Blob.bytes(part);
  if (part instanceof ArrayBuffer) return new Uint8Array(part);
  if (ArrayBuffer.isView(part)) return new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
  return host.utf8(String(part));
};

export const joined = (pieces: readonly Uint8Array[]): Uint8Array => {
  const whole = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
};
