// @ts-check
/**
 * Checks the shape of a value from the network, and names the field that is wrong. It does not know the protocol:
 * `protocol.js` builds its frames from these functions.
 */

/**
 * The largest absolute time of a `Date`, Unix milliseconds. Formatting a time beyond it throws.
 */
const LAST_MOMENT = 8_640_000_000_000_000;

/**
 * The server broke the protocol. The message names the field, and never repeats text that users wrote.
 */
export class ProtocolError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "ProtocolError";
  }
}

/**
 * Returns the value, or throws a `ProtocolError` that names `path`.
 *
 * @template Value
 * @typedef {(value: unknown, path: string) => Value} Read
 */

/** @type {Read<string>} */
export function text(value, path) {
  return typeof value === "string" ? value : refuse(value, path, "a string");
}

/** @type {Read<boolean>} */
export function flag(value, path) {
  return typeof value === "boolean" ? value : refuse(value, path, "a boolean");
}

/** Unix milliseconds. @type {Read<number>} */
export function moment(value, path) {
  const isMoment = typeof value === "number" && Math.abs(value) <= LAST_MOMENT;
  return isMoment ? value : refuse(value, path, "a time in milliseconds");
}

/**
 * A whole number without rounding error.
 *
 * @param {number} first The smallest value.
 * @returns {Read<number>}
 */
export function wholeFrom(first) {
  return (value, path) => {
    const isWhole = typeof value === "number" && Number.isSafeInteger(value) && value >= first;
    return isWhole ? value : refuse(value, path, `a whole number from ${first}`);
  };
}

/**
 * @template {string | true} Value
 * @param {readonly Value[]} values
 * @returns {Read<Value>}
 */
export function oneOf(values) {
  return (value, path) => {
    const found = values.find((some) => some === value);
    return found ?? refuse(value, path, values.map((some) => JSON.stringify(some)).join(" or "));
  };
}

/**
 * @template Value
 * @param {Read<Value>} read
 * @returns {Read<Value | undefined>} `null` counts as absent, because some languages write it so.
 */
export function optional(read) {
  return (value, path) => (value == null ? undefined : read(value, path));
}

/**
 * @template Value
 * @param {Read<Value>} read
 * @returns {Read<Value[]>}
 */
export function listOf(read) {
  return (value, path) => {
    if (!Array.isArray(value)) return refuse(value, path, "a list");
    return value.map((item, index) => read(item, `${path}[${index}]`));
  };
}

/**
 * @template {object} Value
 * @param {{ [Field in keyof Value]-?: Read<Value[Field]> }} fields Every field of the type, or it does not compile.
 * @returns {Read<Value>} Other fields stay as they are.
 */
export function record(fields) {
  const reads = /** @type {[string, Read<unknown>][]} */ (Object.entries(fields));
  return (value, path) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return refuse(value, path, "an object");
    /** @type {Record<string, unknown>} */
    const found = { ...value };
    for (const [name, read] of reads) {
      const field = read(found[name], path === "" ? name : `${path}.${name}`);
      if (field === undefined) delete found[name];
      else found[name] = field;
    }
    return /** @type {Value} */ (found);
  };
}

/**
 * @param {unknown} value
 * @param {string} path
 * @param {string} expected
 * @returns {never}
 */
function refuse(value, path, expected) {
  const name = path === "" ? "the frame" : path;
  if (value === undefined) throw new ProtocolError(`${name} is missing: it must be ${expected}`);
  const kind = value === null ? "null" : Array.isArray(value) ? "a list" : `of type ${typeof value}`;
  // The type may be right and the value wrong, as of a string or number.
  throw new ProtocolError(`${name} must be ${expected}, and the value that came is ${kind}`);
}
