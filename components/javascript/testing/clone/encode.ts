/** Writes a value. See `format.ts`. */
import { DataCloneError, JSON_TEXT, MAX_DEPTH, MAX_JSON_DEPTH, RAW, TAGGED, VIEWS } from "./format.js";

export const encode = (value: unknown): Uint8Array => {
  if (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Uint8Array.prototype) {
    return joined(RAW, value as Uint8Array);
  }
  if (isTree(value, new Set(), 0)) return joined(JSON_TEXT, new TextEncoder().encode(JSON.stringify(value)));
  const writer = new Writer();
  writer.value(value, 0);
  return joined(TAGGED, Uint8Array.from(writer.bytes));
};

const joined = (version: number, contents: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(contents.length + 1);
  bytes[0] = version;
  bytes.set(contents, 1);
  return bytes;
};

/** Whether JSON keeps everything of a value. */
const isTree = (value: unknown, seen: Set<object>, depth: number): boolean => {
  if (typeof value === "number") return Number.isFinite(value) && !Object.is(value, -0);
  if (typeof value !== "object") return typeof value === "string" || typeof value === "boolean";
  if (value === null) return true;
  if (depth > MAX_JSON_DEPTH || seen.has(value)) return false;
  seen.add(value);
  if (Array.isArray(value)) {
    return isDense(value) && value.every((element) => isTree(element, seen, depth + 1));
  }
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  return Object.values(value).every((property) => isTree(property, seen, depth + 1));
};

/** Neither holes nor other properties. */
const isDense = (array: unknown[]): boolean => {
  const keys = Object.keys(array);
  return keys.length === array.length && keys.every((key, at) => key === String(at));
};

class Writer {
  readonly bytes: number[] = [];
  #numbers = new Map<object, number>();

  value(value: unknown, depth: number): void {
    if (depth > MAX_DEPTH) throw new DataCloneError(`a value nested deeper than ${MAX_DEPTH} could not be cloned.`);
    switch (typeof value) {
      case "undefined":
        return this.#tag("_");
      case "boolean":
        return this.#tag(value ? "T" : "F");
      case "number":
        this.#tag("N");
        return this.#float(value);
      case "string":
        return this.#string(value);
      case "bigint":
        this.#tag("I");
        return this.#text(String(value));
      case "symbol":
      case "function":
        throw new DataCloneError(`${String(value)} could not be cloned.`);
    }
    if (value === null) return this.#tag("0");
    const known = this.#numbers.get(value as object);
    if (known !== undefined) {
      this.#tag("r");
      return this.#length(known);
    }
    this.#numbers.set(value as object, this.#numbers.size);
    this.#object(value as object, depth + 1);
  }

  #object(value: object, depth: number): void {
    if (Array.isArray(value)) {
      if (isDense(value)) {
        this.#tag("a");
        this.#length(value.length);
        for (const element of value) this.value(element, depth);
      } else {
        this.#tag("A");
        this.#length(value.length);
        this.#properties(value, depth);
      }
    } else if (value instanceof Date) {
      this.#tag("d");
      this.#float(value.getTime());
    } else if (value instanceof Map) {
      this.#tag("m");
      this.#length(value.size);
      for (const [key, entry] of [...value]) {
        this.value(key, depth);
        this.value(entry, depth);
      }
    } else if (value instanceof Set) {
      this.#tag("s");
      this.#length(value.size);
      for (const element of [...value]) this.value(element, depth);
    } else if (value instanceof RegExp) {
      this.#tag("x");
      this.#text(value.source);
      this.#text(value.flags);
    } else if (value instanceof ArrayBuffer) {
      this.#tag("b");
      this.#raw(new Uint8Array(value));
    } else if (ArrayBuffer.isView(value)) {
      this.#tag("v");
      this.bytes.push(VIEWS.findIndex((type) => value instanceof type));
      this.#raw(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    } else if (value instanceof Error) {
      this.#error(value, depth);
    } else if ([Boolean, Number, String, BigInt].some((type) => value instanceof type)) {
      this.#tag("p");
      this.value(value.valueOf(), depth);
    } else {
      const tag = Object.prototype.toString.call(value);
      if (tag !== "[object Object]") throw new DataCloneError(`${tag} could not be cloned.`);
      this.#tag("o");
      this.#properties(value, depth);
    }
  }

  #error(error: Error, depth: number): void {
    this.#tag("e");
    this.#text(String(error.name));
    this.#text(String(error.message));
    this.value(typeof error.stack === "string" ? error.stack : undefined, depth);
    if (Object.hasOwn(error, "cause")) {
      this.#tag("1");
      this.value(error.cause, depth);
    } else {
      this.#tag("0");
    }
  }

  #properties(value: object, depth: number): void {
    const entries = Object.entries(value);
    this.#length(entries.length);
    for (const [key, property] of entries) {
      this.#string(key);
      this.value(property, depth);
    }
  }

  #tag(tag: string): void {
    this.bytes.push(tag.charCodeAt(0));
  }

  #length(length: number): void {
    let left = length;
    for (; left >= 0x80; left = Math.floor(left / 0x80)) this.bytes.push((left % 0x80) + 0x80);
    this.bytes.push(left);
  }

  #float(number: number): void {
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setFloat64(0, number, true);
    this.bytes.push(...new Uint8Array(bytes.buffer));
  }

  #string(text: string): void {
    if (text.isWellFormed()) {
      this.#tag("S");
      return this.#text(text);
    }
    this.#tag("W");
    this.#length(2 * text.length);
    for (let at = 0; at < text.length; at++) {
      this.bytes.push(text.charCodeAt(at) & 0xff, text.charCodeAt(at) >> 8);
    }
  }

  #text(text: string): void {
    this.#raw(new TextEncoder().encode(text));
  }

  #raw(bytes: Uint8Array): void {
    this.#length(bytes.length);
    for (const byte of bytes) this.bytes.push(byte);
  }
}
