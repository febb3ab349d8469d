/** One write or removal, with its old value noted for the transaction that it belongs to. */
import * as host from "dormouse:host";

import { type Journal, noteKey } from "./journal.js";
import { checkWritten } from "./keys.js";

export const write = (key: string, value: unknown, journal?: Journal): void => {
  if (value === undefined) throw new TypeError("put() called with undefined value.");
  noteKey(key, journal);
  checkWritten(host.putValue(key, value), `put(${JSON.stringify(key)})`);
};

export const remove = (key: string, journal?: Journal): boolean => {
  noteKey(key, journal);
  return host.remove(key);
};
