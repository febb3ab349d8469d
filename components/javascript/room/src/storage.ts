/**
 * The room's own storage: values under texts, in the order of their UTF-8 bytes. Each turn is one transaction; it reads its
 * own writes. Values are structured clones: JSON, and also `Map`, `Set`, `Date`, `bigint`, bytes and cycles.
 *
 * Limits: a key of 1 to 2,048 bytes, a value of 2 MiB, 16 MiB of writes a turn.
 */
import * as host from "dormouse:host";

import { AFTER_TEXTS } from "./once.js";
import { change } from "./turn.js";

/** Which entries `list` returns. */
export interface ListOptions {
  /** Only keys that begin with this. */
  prefix?: string;
  /** Only keys from this one on, including it. */
  start?: string;
  /** Only keys before this one. */
  end?: string;
  /** Highest key first. */
  reverse?: boolean;
  /** The most entries. Default: all. */
  limit?: number;
}

/** The host's limit of entries in one call. */
const PAGE = 1000;

/** Storage whose keys and values have types: `State` has a type for each key, or for each form of keys. */
export interface Storage<State> {
  /** The value of a key; `undefined` if there is none. */
  get<K extends keyof State & string>(key: K): State[K] | undefined;
  /** Sets the value of a key. */
  put<K extends keyof State & string>(key: K, value: State[K]): void;
  /** Removes a key. Returns whether it existed. */
  delete(key: keyof State & string): boolean;
  /** Entries in the order of their keys. */
  list<V = State[keyof State]>(options?: ListOptions): [string, V][];
}

const checkWritten = (problem: host.StorageProblem | null, key: string): void => {
  if (problem === null) return;
  const reason = {
    "bad-key": "a key has 1 to 2,048 bytes",
    "value-too-large": "a value has at most 2 MiB; split it over several keys",
    "turn-too-large": "a turn writes at most 16 MiB; spread it over several turns",
  }[problem];
  throw new RangeError(`storage.put(${JSON.stringify(key)}): ${reason}`);
};

/** The storage, without types: `this.storage` of a room has them. */
export const storage: Storage<Record<string, any>> = {
  get: (key) => host.getValue(key),

  put: (key, value) => {
    if (value === undefined) throw new TypeError(`storage.put(${JSON.stringify(key)}): undefined is no value`);
    change("storage");
    checkWritten(host.putValue(key, value), key);
  },

  delete: (key) => {
    change("storage");
    return host.remove(key);
  },

  list: <V>({ limit = Infinity, reverse = false, ...range }: ListOptions = {}) => {
    const found: [string, V][] = [];
    // Behind the texts are the records of the library itself.
    for (let next: host.Range = { ...range, end: range.end ?? AFTER_TEXTS }; found.length < limit;) {
      const page = host.listValues({ ...next, reverse, limit: Math.min(PAGE, limit - found.length) });
      found.push(...(page as [string, V][]));
      const last = page.at(-1)?.[0] as string | undefined;
      if (last === undefined) break; // a page may be short at 16 MiB, so only an empty one is the last
      next = reverse ? { ...range, end: last } : { ...next, start: `${last}\0` };
    }
    return found;
  },
};
