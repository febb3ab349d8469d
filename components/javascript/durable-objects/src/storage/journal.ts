/**
 * Open transactions, and the old values that a rollback puts back. The turn itself is the host's transaction; this is
 * for `transaction()` and `transactionSync()`, whose rollback leaves the rest of the turn as it is.
 *
 * Transactions may be nested, and with `await` two of them may be open at once. Then a rollback leaves alone what a
 * later transaction wrote, and that one would put back the older value.
 */
import * as host from "dormouse:host";

/** The timer of `setAlarm`. */
export const ALARM = "alarm";

export interface Journal {
  /** The bytes before the first write of each key; `undefined` if there was none. */
  values: Map<string, Uint8Array | undefined>;
  /** The time of the alarm before its first change; `null` if there was none, absent without a change. */
  alarm?: number | null;
  /** Rolled back, or committed: nothing may be written in it any more. */
  isEnded?: true;
}

/** From the outermost to the innermost. */
const open: Journal[] = [];

export const isOpen = (): boolean => open.length > 0;

export const begin = (): Journal => {
  const journal: Journal = { values: new Map() };
  open.push(journal);
  return journal;
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

/** Keeps what a transaction wrote. One around it can still put it back. */
export const commit = (journal: Journal): void => {
  const { outer } = remove(journal);
  if (!outer) return;
  for (const [key, bytes] of journal.values) if (!outer.values.has(key)) outer.values.set(key, bytes);
  if (outer.alarm === undefined) outer.alarm = journal.alarm;
};

/** Puts back what a transaction wrote. */
export const rollBack = (journal: Journal): void => {
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
