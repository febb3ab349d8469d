/**
 * Calls that run once, however often a client sends them: the answer is stored in the turn of the call, under the client's
 * own id of the call. A client whose connection or server was lost sends the call again, and gets the answer that is stored,
 * or the call runs now.
 *
 * A record is kept for ten minutes at least. The first part of its key is the ten minutes in which it was made, so a lookup
 * takes two reads, and the oldest records are the first keys. Each new record removes some of those.
 */
import * as host from "dormouse:host";

import { ClientError } from "./errors.js";

/** How long a record is kept at least, in milliseconds. */
const WINDOW_MS = 10 * 60 * 1000;

/** The old records that a new one removes: more than one, so that they become fewer. */
const REMOVED_PER_RECORD = 4;

/** The longest answer that is kept, in UTF-16 code units. A longer one is not there for a second attempt. */
const MAX_ANSWER = 65_536;

/** The digits of the window in a key: enough for all times of a `Date`. */
const DIGITS = 10;

/** Before all keys of records, and of no text: see `AFTER_TEXTS`. */
const PREFIX = "once:";

/** Behind all keys that are texts: no UTF-8 begins with this byte. */
export const AFTER_TEXTS = new Uint8Array([0xff]);

/** What is stored of a call. */
interface Record {
  name: string;
  /** The frame of the answer; absent if it was too long. */
  answer?: string;
}

/** The newest window that has a record: the clock of the machine may have been set back since. */
let newest: number | undefined;

/** Called when the room wakes. */
export const reset = (): void => {
  newest = undefined;
};

/** The frame with the answer of a call that has run before; `undefined` if it has not. */
export const answered = (user: string, id: string, name: string): string | undefined => {
  const now = windowNow();
  for (const window of new Set([now, now - 1, Math.max(newestWindow(), now)])) {
    const bytes = host.get(keyOf(window, user, id));
    if (bytes === undefined) continue;
    const record = JSON.parse(host.text(bytes)) as Record;
    if (record.name !== name) throw new ClientError("id_reused", `this id was used for the call ${record.name}`);
    if (record.answer !== undefined) return record.answer;
    throw new ClientError("answer_not_kept", "the call has run, and its answer was too long to be kept");
  }
  return undefined;
};

/** Stores the frame with the answer of a call. */
export const keep = (user: string, id: string, name: string, answer: string): void => {
  const window = windowNow();
  removeOld(window - 1);
  const record: Record = answer.length > MAX_ANSWER ? { name } : { name, answer };
  const problem = host.put(keyOf(window, user, id), host.utf8(JSON.stringify(record)));
  if (problem !== null) throw new RangeError(`the answer of the call ${name} cannot be stored: ${problem}`);
  newest = Math.max(newestWindow(), window);
};

/** Removes what is kept of a user's calls. Records of others are read too; they are those of some minutes. */
export const forgetUser = (user: string): void => {
  const mark = host.text(host.utf8(`:${user}\0`));
  for (let start: host.Key = key(PREFIX); ;) {
    const page = host.list({ start, end: key(`${PREFIX};`), limit: 1000 });
    for (const [found] of page) {
      if (textOf(found).indexOf(mark) === PREFIX.length + DIGITS) host.remove(found);
    }
    const last = page.at(-1)?.[0];
    if (last === undefined) return;
    start = key(`${textOf(last)}\0`);
  }
};

const removeOld = (before: number): void => {
  host.removeRange(key(PREFIX), key(PREFIX + digits(before)), REMOVED_PER_RECORD);
};

const newestWindow = (): number => {
  if (newest === undefined) {
    const [last] = host.list({ start: key(PREFIX), end: key(`${PREFIX};`), reverse: true, limit: 1 });
    newest = last ? Number(textOf(last[0]).slice(PREFIX.length, PREFIX.length + DIGITS)) : 0;
  }
  return newest;
};

const windowNow = (): number => Math.floor(host.now() / WINDOW_MS);

const digits = (window: number): string => String(Math.max(window, 0)).padStart(DIGITS, "0");

const keyOf = (window: number, user: string, id: string): Uint8Array =>
  key(`${PREFIX}${digits(window)}:${user}\0${id}`);

const key = (name: string): Uint8Array => {
  const text = host.utf8(name);
  const bytes = new Uint8Array(text.length + 1);
  bytes.set(AFTER_TEXTS);
  bytes.set(text, 1);
  return bytes;
};

const textOf = (found: host.Key): string => (typeof found === "string" ? found : host.text(found.subarray(1)));
