/** Keys of an object: strings. The keys of this package begin with a byte that no string has, so they never meet. */
import * as host from "dormouse:host";

/** The limit of the host, in bytes of UTF-8. */
const MAX_KEY_BYTES = 2048;

/** Behind all keys that are strings: no UTF-8 begins with this byte. */
export const AFTER_ALL = new Uint8Array([0xff]);

export const checkKey = (key: unknown): string => {
  const text = typeof key === "string" ? key : String(key);
  if (text === "") throw new TypeError("Keys must not be empty.");
  if (text.length * 3 > MAX_KEY_BYTES) {
    const { length } = host.utf8(text);
    if (length > MAX_KEY_BYTES) {
      throw new RangeError(`Keys cannot be larger than ${MAX_KEY_BYTES} bytes. A key of size ${length} was provided.`);
    }
  }
  return text;
};

/** A key of this package. */
export const internalKey = (name: string): Uint8Array => {
  const text = host.utf8(name);
  const key = new Uint8Array(text.length + 1);
  key[0] = 0xff;
  key.set(text, 1);
  return key;
};

/** Fails with the author's words if the host did not write. */
export const checkWritten = (problem: host.StorageProblem | null, what: string): void => {
  if (problem === null) return;
  const reason = {
    "bad-key": `Keys cannot be larger than ${MAX_KEY_BYTES} bytes.`,
    "value-too-large": "Values cannot be larger than 2097152 bytes.",
    "turn-too-large": "The writes of one event cannot be larger than 16 MiB together.",
  }[problem];
  throw new RangeError(`${what}: ${reason}`);
};
