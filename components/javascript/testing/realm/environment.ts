/**
 * The globals of the engine beside ECMAScript, in the realm of an instance. Most come from Node through `__node`, but what
 * returns arrays or bytes is made here: those of Node are of another realm.
 */
import { decode } from "../clone/decode.js";
import { encode } from "../clone/encode.js";

declare const __node: {
  URL: typeof URL;
  URLSearchParams: typeof URLSearchParams;
  TextEncoder: typeof TextEncoder;
  TextDecoder: typeof TextDecoder;
  atob(text: string): string;
  btoa(text: string): string;
};

const show = (value: unknown): string => {
  if (typeof value === "string") return value;
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
};

const line =
  (level: number) =>
  (...parts: unknown[]): void =>
    __world.log(level, parts.map(show).join(" "));

const fill = (array: ArrayBufferView): ArrayBufferView => {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  const random = __world.randomBytes(bytes.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = random.charCodeAt(at);
  return array;
};

const randomUUID = (): string => {
  const bytes = fill(new Uint8Array(16)) as Uint8Array;
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
};

class DOMException extends Error {
  constructor(message = "", name = "Error") {
    super(message);
    this.name = name;
  }
}

Object.assign(globalThis, {
  DOMException,
  self: globalThis,
  console: { debug: line(0), log: line(1), info: line(1), warn: line(2), error: line(3) },
  URL: __node.URL,
  URLSearchParams: __node.URLSearchParams,
  TextEncoder: class {
    encode(text = ""): Uint8Array {
      return Uint8Array.from(new __node.TextEncoder().encode(text));
    }
  },
  TextDecoder: class {
    #decoder: TextDecoder;

    constructor(label?: string, options?: ConstructorParameters<typeof TextDecoder>[1]) {
      this.#decoder = new __node.TextDecoder(label, options);
    }

    decode(bytes?: ArrayBufferView, options?: TextDecoderDecodeOptions): string {
      return this.#decoder.decode(bytes, options);
    }
  },
  atob: (text: string) => __node.atob(text),
  btoa: (text: string) => __node.btoa(text),
  structuredClone: (value: unknown) => decode(encode(value)),
  queueMicrotask: (callback: () => void) => void Promise.resolve().then(callback),
  crypto: { getRandomValues: fill, randomUUID },
  performance: { now: () => 0 },
});

/** Time stands still in a turn. */
Date.now = () => (JSON.parse(__world.context()) as { now: number }).now;
