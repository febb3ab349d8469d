/** The globals of the engine, as far as the packages use them: ECMAScript 2023, and what `dormouse:host` lists. */

declare class URL {
  constructor(url: string, base?: string);
  readonly origin: string;
  readonly pathname: string;
  readonly search: string;
  toString(): string;
}

declare class URLSearchParams {
  constructor(query?: string);
  get(name: string): string | null;
  getAll(name: string): string[];
  has(name: string): boolean;
  toString(): string;
  [Symbol.iterator](): IterableIterator<[string, string]>;
}

declare class TextEncoder {
  encode(text?: string): Uint8Array;
}

declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  decode(bytes?: ArrayBuffer | ArrayBufferView, options?: { stream?: boolean }): string;
}

declare const crypto: { getRandomValues<T extends ArrayBufferView>(array: T): T; randomUUID(): string };

declare const console: Record<"debug" | "log" | "info" | "warn" | "error", (...parts: unknown[]) => void>;
