/** The alarm of an object: the room's timer of that name. */
import * as host from "dormouse:host";

import { ALARM, type Journal, noteAlarm } from "./journal.js";

/** The state of the alarm's own turn: Cloudflare hides the alarm that is running. */
let running: "no" | "yes" | "set again" = "no";

/** Whether the class can handle one; told by `serve`. */
let hasHandler = false;

export const setHandler = (has: boolean): void => {
  hasHandler = has;
};

/** Tells whether the turn of the alarm runs. */
export const setRunning = (isRunning: boolean): void => {
  running = isRunning ? "yes" : "no";
};

export const getAlarm = (): number | null => (running === "yes" ? null : (host.getTimer(ALARM)?.at ?? null));

export const setAlarm = (time: number | Date, journal?: Journal): void => {
  const at = time instanceof Date ? time.getTime() : Number(time);
  if (!Number.isFinite(at) || at <= 0) throw new TypeError("setAlarm() cannot be called with an alarm time <= 0");
  if (!hasHandler) {
    throw new Error("Your Durable Object class must have an alarm() handler in order to call setAlarm()");
  }
  noteAlarm(journal);
  const problem = host.setTimer(ALARM, at);
  if (problem !== null) throw new RangeError("setAlarm(): the room has 1,000 timers already, of setTimeout()");
  if (running === "yes") running = "set again";
};

export const deleteAlarm = (journal?: Journal): void => {
  noteAlarm(journal);
  host.cancelTimer(ALARM);
};
