/** Reads what `encode` wrote. Other bytes are an error, never a crash. See `format.ts`. */
import { ERRORS, JSON_TEXT, MAX_DEPTH, RAW, TAGGED, VIEWS } from "./format.js";

export const decode = (bytes: Uint8Array): unknown => {
  const contents = bytes.subarray(1);
  switch (bytes[0]) {
    case RAW:
      return contents.slice();
    case JSON_TEXT:
      return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(contents));
    case TAGGED:
      return new Reader(contents).whole();
    default:
      throw new Error(`a structured clone of the unknown version ${bytes[0]}`);
  }
};

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;
  #objects: unknown[] = [];

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  whole(): unknown {
    const value = this.#value(0);
    if (this.#at !== this.#bytes.length) throw this.#damage("bytes behind the value");
    return value;
  }

  #value(depth: number): unknown {
    if (depth > MAX_DEPTH) throw this.#damage("nested too deeply");
    const tag = this.#tag();
    switch (tag) {
      case "_":
        return undefined;
      case "0":
        return null;
      case "T":
        return true;
      case "F":
        return false;
      case "N":
        return this.#float();
      case "S":
      case "W":
        return this.#string(tag);
      case "I":
        return this.#bigint();
      case "r": {
        const number = this.#length();
        if (number >= this.#objects.length) throw this.#damage("a reference to no object");
        return this.#objects[number];
      }
      default:
        return this.#object(tag, depth + 1);
    }
  }

  #object(tag: string, depth: number): unknown {
    switch (tag) {
      case "o":
        return this.#properties(this.#add({}), depth);
      case "a": {
        const length = this.#count();
        const array = this.#add<unknown[]>([]);
        for (let at = 0; at < length; at++) array.push(this.#value(depth));
        return array;
      }
      case "A": {
        const length = this.#length();
        if (length > 2 ** 32 - 1) throw this.#damage("an array that is too long");
        const array = this.#add<unknown[]>([]);
        array.length = length;
        return this.#properties(array, depth);
      }
      case "d":
        return this.#add(new Date(this.#float()));
      case "m": {
        const map = this.#add(new Map<unknown, unknown>());
        for (let left = this.#count(); left > 0; left--) map.set(this.#value(depth), this.#value(depth));
        return map;
      }
      case "s": {
        const set = this.#add(new Set<unknown>());
        for (let left = this.#count(); left > 0; left--) set.add(this.#value(depth));
        return set;
      }
      case "x":
        return this.#add(new RegExp(this.#text(), this.#text()));
      case "b":
        return this.#add(this.#raw().slice().buffer);
      case "v":
        return this.#add(this.#view());
      case "e":
        return this.#error(depth);
      case "p": {
        const at = this.#objects.push(undefined) - 1;
        const boxed = Object(this.#value(depth)) as unknown;
        this.#objects[at] = boxed;
        return boxed;
      }
      default:
        throw this.#damage(`the unknown tag ${JSON.stringify(tag)}`);
    }
  }

  #properties<T extends object>(object: T, depth: number): T {
    for (let left = this.#count(); left > 0; left--) {
      const key = this.#string(this.#tag());
      const property = { value: this.#value(depth), writable: true, enumerable: true, configurable: true };
      Object.defineProperty(object, key, property); // also for `__proto__`
    }
    return object;
  }

  #view(): ArrayBufferView {
    const type = VIEWS[this.#byte()];
    if (!type) throw this.#damage("a view of an unknown kind");
    const { buffer, length } = this.#raw().slice();
    if ("BYTES_PER_ELEMENT" in type && length % type.BYTES_PER_ELEMENT !== 0) throw this.#damage("a torn view");
    return new (type as new (buffer: ArrayBuffer) => ArrayBufferView)(buffer as ArrayBuffer);
  }

  #error(depth: number): Error {
    const number = this.#objects.push(undefined) - 1;
    const [name, message] = [this.#text(), this.#text()];
    const type = Object.hasOwn(ERRORS, name) ? ERRORS[name] : undefined;
    const error = new (type ?? Error)(message);
    this.#objects[number] = error;
    const define = (key: string, value: unknown) =>
      Object.defineProperty(error, key, { value, writable: true, enumerable: false, configurable: true });
    if (!type) define("name", name);
    const stack = this.#value(depth);
    if (stack === undefined) delete error.stack;
    else define("stack", stack);
    if (this.#tag() === "1") define("cause", this.#value(depth));
    return error;
  }

  #add<T>(object: T): T {
    this.#objects.push(object);
    return object;
  }

  #byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw this.#damage("it ends early");
    this.#at++;
    return byte;
  }

  #tag(): string {
    return String.fromCharCode(this.#byte());
  }

  #length(): number {
    let length = 0;
    for (let factor = 1; factor < 2 ** 49; factor *= 0x80) {
      const byte = this.#byte();
      length += (byte & 0x7f) * factor;
      if (byte < 0x80) return length;
    }
    throw this.#damage("a length that is too long");
  }

  /** The number of elements: each has at least one byte. */
  #count(): number {
    const count = this.#length();
    if (count > this.#bytes.length - this.#at) throw this.#damage("it ends early");
    return count;
  }

  #raw(): Uint8Array {
    const length = this.#count();
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  #text(): string {
    return new TextDecoder("utf-8", { fatal: false, ignoreBOM: true }).decode(this.#raw());
  }

  #string(tag: string): string {
    if (tag === "S") return this.#text();
    if (tag !== "W") throw this.#damage("a key that is no text");
    const bytes = this.#raw();
    let text = "";
    for (let at = 0; at + 1 < bytes.length; at += 2) {
      text += String.fromCharCode((bytes[at] as number) + 256 * (bytes[at + 1] as number));
    }
    return text;
  }

  #float(): number {
    const bytes = new DataView(new ArrayBuffer(8));
    for (let at = 0; at < 8; at++) bytes.setUint8(at, this.#byte());
    return bytes.getFloat64(0, true);
  }

  #bigint(): bigint {
    const digits = this.#text();
    if (!/^-?[0-9]+$/.test(digits)) throw this.#damage("a bigint without digits");
    return BigInt(digits);
  }

  #damage(what: string): Error {
    return new Error(`a structured clone is damaged at byte ${this.#at + 1}: ${what}`);
  }
}
