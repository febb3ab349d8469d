/** `list()`: the entries of a range, read in pages. */
import * as host from "dormouse:host";

import { AFTER_ALL, checkKey } from "./keys.js";

export interface ListOptions {
  start?: string;
  startAfter?: string;
  end?: string;
  prefix?: string;
  reverse?: boolean;
  limit?: number;
}

/** The host's limit of entries in one call. */
const PAGE = 1000;

/** A generator, so that a caller that stops early reads no further page. */
export function* entries(options: ListOptions = {}): Generator<[string, unknown]> {
  const { prefix, reverse = false, limit } = options;
  if (limit !== undefined && !(limit > 0)) throw new TypeError("List limit must be positive.");
  if (options.start !== undefined && options.startAfter !== undefined) {
    throw new TypeError("list() cannot be called with both start and startAfter values.");
  }
  let start = options.startAfter === undefined ? options.start : `${checkKey(options.startAfter)}\0`;
  let end: host.Key = options.end ?? AFTER_ALL;
  if (start === "") start = undefined;
  if (end === "") return;
  for (let left = limit ?? Infinity; left > 0;) {
    const page = host.listValues({
      ...(prefix ? { prefix } : {}),
      ...(start === undefined ? {} : { start }),
      end,
      reverse,
      limit: Math.min(PAGE, Math.ceil(left)),
    });
    for (const [key, value] of page) yield [key as string, value];
    left -= page.length;
    // A page may end early, at the bytes that one call may return. So only an empty one is the last.
    const last = page.at(-1)?.[0] as string | undefined;
    if (last === undefined) return;
    if (reverse) end = last;
    else start = `${last}\0`;
  }
}
