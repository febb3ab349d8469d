/**
 * The format of structured clones, as the engine writes it in Rust. This is the reference in JavaScript, for tests.
 *
 * The first byte is the version:
 *
 * 0: the bytes of a `Uint8Array` follow.
 * 1: JSON follows, exactly that of `JSON.stringify`. Only for trees of plain data: no object occurs twice.
 * 2: everything else. A value is a tag and its contents. Numbers of elements and lengths are LEB128; a text has its length
 *    in bytes before it. Objects are numbered in the order of their tags, so that a later occurrence is a reference.
 */

export const RAW = 0;
export const JSON_TEXT = 1;
export const TAGGED = 2;

/** How deep JSON and tagged values may be nested. */
export const MAX_JSON_DEPTH = 100;
export const MAX_DEPTH = 500;

/** The kinds of views, by their number. */
export const VIEWS = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  DataView,
] as const;

/** The errors that are made anew with their own class. */
export const ERRORS: Record<string, ErrorConstructor> = {
  Error,
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
};

export class DataCloneError extends Error {
  override name = "DataCloneError";
  readonly code = 25;
}
