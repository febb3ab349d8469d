/**
 * `ctx.storage`. Below it is synchronous: the promises are settled when they are returned. One event is one turn of the
 * host, so all writes of an event become durable together, and no output leaves before.
 */
import * as host from "dormouse:host";

import { unsupported } from "../unsupported.js";
import * as alarm from "./alarm.js";
import { SqlStorage } from "./database.js";
import * as journal from "./journal.js";
import { AFTER_ALL, checkKey, checkWritten } from "./keys.js";
import { SyncKv } from "./kv.js";
import { entries, type ListOptions } from "./list.js";
import { remove, write } from "./write.js";

/** The most keys in one call, as on Cloudflare. */
const MAX_KEYS = 128;

/** The first key that is not empty. */
const BEFORE_ALL = new Uint8Array([0]);

/** Keys removed in one call of the host. */
const REMOVED_AT_ONCE = 1000;

/** The operations that `ctx.storage` and a transaction have in common. A transaction notes old values in its journal. */
class Operations {
  #journal: journal.Journal | undefined;

  constructor(own?: journal.Journal) {
    this.#journal = own;
  }

  async get(key: string | string[], _options?: unknown): Promise<unknown> {
    if (!Array.isArray(key)) return host.getValue(checkKey(key));
    checkCount(key.length, "keys");
    const keys = [...new Set(key.map(checkKey))].sort(byBytes);
    const values = host.getValues(keys);
    return new Map(keys.map((name, at) => [name, values[at]] as const).filter(([, value]) => value !== undefined));
  }

  async put(key: string | Record<string, unknown>, value?: unknown, _options?: unknown): Promise<void> {
    if (typeof key !== "object" || key === null) return write(checkKey(key), value, this.#journal);
    // With entries, the options take the place of the value.
    const pairs = Object.entries(key).filter(([, one]) => one !== undefined);
    checkCount(pairs.length, "pairs");
    for (const [name] of pairs) journal.noteKey(checkKey(name), this.#journal);
    checkWritten(host.putValues(pairs), "put()");
  }

  async delete(key: string | string[], _options?: unknown): Promise<boolean | number> {
    if (!Array.isArray(key)) return remove(checkKey(key), this.#journal);
    checkCount(key.length, "keys");
    return key.map(checkKey).filter((name) => remove(name, this.#journal)).length;
  }

  async list(options: ListOptions = {}): Promise<Map<string, unknown>> {
    return new Map(entries(options));
  }

  async getAlarm(_options?: unknown): Promise<number | null> {
    return alarm.getAlarm();
  }

  async setAlarm(time: number | Date, _options?: unknown): Promise<void> {
    alarm.setAlarm(time, this.#journal);
  }

  async deleteAlarm(_options?: unknown): Promise<void> {
    alarm.deleteAlarm(this.#journal);
  }
}

/** What the closure of `transaction()` gets. */
class Transaction extends Operations {
  #rollBack: () => void;

  constructor(own: journal.Journal, rollBack: () => void) {
    super(own);
    this.#rollBack = rollBack;
  }

  rollback(): void {
    this.#rollBack();
  }

  async deleteAll(): Promise<never> {
    throw new Error("Cannot call deleteAll() within a transaction");
  }
}

export class DurableObjectStorage extends Operations {
  readonly kv = new SyncKv();
  #database: SqlStorage | undefined;

  async deleteAll(_options?: unknown): Promise<void> {
    if (journal.isOpen()) throw new Error("Cannot call deleteAll() within a transaction");
    while (host.removeRange(BEFORE_ALL, AFTER_ALL, REMOVED_AT_ONCE) === REMOVED_AT_ONCE);
    host.sqlDelete();
    alarm.deleteAlarm();
  }

  async transaction<T>(closure: (transaction: Transaction) => T | Promise<T>): Promise<T> {
    const { transaction, end } = beginTransaction();
    try {
      const result = await closure(transaction);
      end("commit");
      return result;
    } catch (error) {
      end("roll back");
      throw error;
    }
  }

  transactionSync<T>(closure: () => T): T {
    const { end } = beginTransaction();
    try {
      const result = closure();
      end("commit");
      return result;
    } catch (error) {
      end("roll back");
      throw error;
    }
  }

  /** Nothing to wait for: what leaves the room waits for the commit. */
  async sync(): Promise<void> {}

  get sql(): SqlStorage {
    return (this.#database ??= new SqlStorage());
  }

  getCurrentBookmark(): never {
    return unsupported("ctx.storage.getCurrentBookmark()", BACKUPS);
  }

  getBookmarkForTime(): never {
    return unsupported("ctx.storage.getBookmarkForTime()", BACKUPS);
  }

  onNextSessionRestoreBookmark(): never {
    return unsupported("ctx.storage.onNextSessionRestoreBookmark()", BACKUPS);
  }
}

const BACKUPS = "the operator makes backups and restores them, with `dormouse backup`";

const beginTransaction = () => {
  const own = journal.begin();
  let isOpen = true;
  const end = (how: "commit" | "roll back"): void => {
    if (!isOpen) return;
    isOpen = false;
    if (how === "commit") journal.commit(own);
    else journal.rollBack(own);
  };
  return { transaction: new Transaction(own, () => end("roll back")), end };
};

const checkCount = (count: number, what: string): void => {
  if (count > MAX_KEYS) throw new RangeError(`Maximum number of ${what} is ${MAX_KEYS}.`);
};

/** The order of UTF-8, which is that of code points. */
const byBytes = (a: string, b: string): number => {
  const [x, y] = [[...a], [...b]];
  for (let at = 0; at < Math.min(x.length, y.length); at++) {
    const difference = (x[at]?.codePointAt(0) ?? 0) - (y[at]?.codePointAt(0) ?? 0);
    if (difference !== 0) return difference;
  }
  return x.length - y.length;
};
