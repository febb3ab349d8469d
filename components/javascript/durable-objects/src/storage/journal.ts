/**
 * Open transactions, and the old values that a rollback puts back. The turn itself is the host's transaction; this is
 * for `transaction()` and `transactionSync()`, whose rollback leaves the rest of the turn as it is.
 *
 * Transactions may be nested, and with `await` two of them may be open at once. Then a rollback leaves alone what a
 * later transaction wrote, and that one would put back the older value.
 */
import * as host from "dormouse:host";

import { abort } from "../gates.js";

/** The timer of `setAlarm`. */
export const ALARM = "alarm";

export interface Journal {
  /** The bytes before the first write of each key; `undefined` if there was none. */
  values: Map<string, Uint8Array | undefined>;
  /** The time of the alarm before its first change; `null` if there was none, absent without a change. */
  alarm?: number | null;
  /** Rolled back, or committed: nothing may be written in it any more. */
  isEnded?: true;
  /** What SQL has done since the transaction began, as a savepoint; absent until a statement runs in it. */
  savepoint?: number;
}

/** From the outermost to the innermost. */
const open: Journal[] = [];

export const isOpen = (): boolean => open.length > 0;

export const begin = (): Journal => {
  const journal: Journal = { values: new Map() };
  open.push(journal);
  return journal;
};

/** Called before a statement: from here on all open transactions can put back what SQL does. */
export const beginSavepoints = (): void => {
  for (const journal of open) journal.savepoint ??= host.sqlBegin();
};

/** Notes the old value of a key that is about to be written. Without a journal: in the innermost transaction. */
export const noteKey = (key: string, journal = open.at(-1)): void => {
  checkOpen(journal);
  if (journal && !journal.values.has(key)) journal.values.set(key, host.get(key));
};

export const noteAlarm = (journal = open.at(-1)): void => {
  checkOpen(journal);
  if (journal && journal.alarm === undefined) journal.alarm = host.getTimer(ALARM)?.at ?? null;
};

const checkOpen = (journal: Journal | undefined): void => {
  if (journal?.isEnded) throw new Error("This transaction has ended: it was rolled back, or its closure has returned.");
};

/**
 * Keeps what a transaction wrote. One around it can still put it back.
 *
 * Fails: if a constraint that SQL has deferred is not met; the transaction is rolled back then.
 */
export const commit = (journal: Journal): void => {
  try {
    if (journal.savepoint !== undefined) host.sqlCommit(journal.savepoint);
  } catch (error) {
    putBack(journal);
    throw error;
  }
  const { outer } = remove(journal);
  if (!outer) return;
  for (const [key, bytes] of journal.values) if (!outer.values.has(key)) outer.values.set(key, bytes);
  if (outer.alarm === undefined) outer.alarm = journal.alarm;
};

/** Puts back what a transaction wrote. The turn fails if SQL can no longer do that. */
export const rollBack = (journal: Journal): void => {
  putBack(journal);
  try {
    if (journal.savepoint !== undefined) host.sqlRollBack(journal.savepoint);
  } catch (error) {
    abort(error);
  }
};

/** Puts back the keys and the alarm. */
const putBack = (journal: Journal): void => {
  const { later } = remove(journal);
  for (const [key, bytes] of journal.values) {
    const writer = later.find((other) => other.values.has(key));
    if (writer) writer.values.set(key, bytes);
    else if (bytes === undefined) host.remove(key);
    else host.put(key, bytes);
  }
  const { alarm } = journal;
  if (alarm === undefined) return;
  const setter = later.find((other) => other.alarm !== undefined);
  if (setter) setter.alarm = alarm;
  else if (alarm === null) host.cancelTimer(ALARM);
  else host.setTimer(ALARM, alarm);
};

const remove = (journal: Journal): { outer: Journal | undefined; later: Journal[] } => {
  const at = open.indexOf(journal);
  const later = open.slice(at + 1);
  open.splice(at, 1);
  journal.isEnded = true;
  return { outer: open[at - 1], later };
};
