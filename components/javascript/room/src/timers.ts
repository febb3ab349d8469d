/** Named timers that wake the room. They survive sleep and restarts. At most 1,000 a room. */
import * as host from "dormouse:host";

import { change } from "./turn.js";

/** A timer, as it is set, and as the room's `timer` gets it. */
export interface Timer {
  /** Unique within the room. 1 to 256 bytes. */
  readonly name: string;
  /** When it is due: Unix time in milliseconds. */
  readonly at: number;
  /** The room's own data: a structured clone, at most 16,384 bytes; `undefined` without any. */
  readonly payload: any;
  /** The number of failed turns since it fell due. */
  readonly attempt: number;
}

/** The last time of a `Date`, in milliseconds. */
const LAST_TIME = 8.64e15;

/** Sets a timer. It replaces a timer of the same name. Throws a `RangeError` for a time that no `Date` has. */
const at = (name: string, time: number | Date, payload?: unknown): void => {
  change("a timer");
  const due = Number(time);
  if (!(due >= 0 && due <= LAST_TIME)) {
    throw new RangeError(`timer ${JSON.stringify(name)}: ${due} is no time; give milliseconds, or a Date`);
  }
  const bytes = payload === undefined ? new Uint8Array() : host.encode(payload);
  const problem = host.setTimer(name, due, bytes);
  if (problem === null) return;
  const reason = {
    "bad-name": "a name has 1 to 256 bytes",
    "payload-too-large": "a payload has at most 16,384 bytes; keep it in storage, under the timer's name",
    "too-many": "a room has at most 1,000 timers",
  }[problem];
  throw new RangeError(`timer ${JSON.stringify(name)}: ${reason}`);
};

export const timers = {
  at,

  /** As `at`, in milliseconds from the time of this turn. */
  after: (name: string, ms: number, payload?: unknown): void => at(name, host.now() + ms, payload),

  get: (name: string): Timer | undefined => {
    const timer = host.getTimer(name);
    return timer && timerOf(timer);
  },

  /** Removes a timer. Returns whether it was set. */
  cancel: (name: string): boolean => {
    change("a timer");
    return host.cancelTimer(name);
  },

  /** All timers, sorted by name. */
  all: (): Timer[] => host.timers().map(timerOf),
};

export const timerOf = ({ name, at, payload, attempt }: host.Timer): Timer => ({
  name,
  at,
  payload: payload.length === 0 ? undefined : host.decode(payload),
  attempt,
});
