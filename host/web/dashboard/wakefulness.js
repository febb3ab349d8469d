// @ts-check
/** Why a room is awake, in words, and whether it should sleep. It knows no DOM. */

import { duration } from "./dom.js";

/**
 * @typedef {{ reason: string, since?: number, events?: number, turns?: number, perSecond?: number,
 *   dueAt?: number | null, waiting?: number, sleepsAt?: number }} AwakeBecause
 * @typedef {{ awake: boolean, since: number | null, messagesPerSecond: number, awakeBecause: AwakeBecause[] }} Wakefulness
 */

/** A room that is awake for less time is not remarkable, ms. */
const REMARKABLE_MS = 60_000;
/** A room may sleep so much later than it said, ms: the clocks of browser and server differ. */
const LATE_MS = 5_000;
/** With fewer messages a second than this, clients do not keep a room awake. */
const QUIET = 0.02;

/**
 * One reason, such as "a timer is due in 3 s".
 *
 * @param {AwakeBecause} because
 * @param {number} now Unix time in milliseconds.
 */
export function reason(because, now) {
  switch (because.reason) {
    case "turn":
      return `a turn has run for ${span(now, because.since)}`;
    case "events-waiting":
      return `${count(because.events, "event waits", "events wait")} for a turn`;
    case "disk":
      return `${count(because.turns, "turn waits", "turns wait")} for the disk`;
    case "events":
      return `events come, ${Number((because.perSecond ?? 0).toPrecision(2))} a second`;
    case "timer":
      return `a timer is due ${due(now, because.dueAt)}`;
    case "posts": {
      const tried = because.dueAt
        ? `the next is tried ${due(now, because.dueAt)}`
        : because.waiting === 1
          ? "it is on its way"
          : "they are on their way";
      return `${count(because.waiting, "post waits", "posts wait")}, ${tried}`;
    }
    case "recent-event":
      return `it had an event; it sleeps ${due(now, because.sleepsAt)}`;
    default:
      return because.reason;
  }
}

/**
 * Whether a room should sleep and does not: no client keeps it awake.
 *
 * @param {Wakefulness} room
 * @param {number} now Unix time in milliseconds.
 */
export function shouldSleep({ awake, since, messagesPerSecond, awakeBecause }, now) {
  if (!awake || since === null || now - since < REMARKABLE_MS || messagesPerSecond >= QUIET) return false;
  return awakeBecause.some((because) => because.reason !== "recent-event" || now > (because.sleepsAt ?? now) + LATE_MS);
}

/** @param {number | undefined} of @param {string} one @param {string} many */
function count(of = 0, one, many) {
  return `${of} ${of === 1 ? one : many}`;
}

/** @param {number} now @param {number | undefined} since */
function span(now, since = now) {
  return duration(Math.max(now - since, 0) / 1000);
}

/** @param {number} now @param {number | null | undefined} at */
function due(now, at) {
  const ms = (at ?? now) - now;
  return ms <= 0 ? "now" : `in ${duration(ms < 1_000 ? ms / 1_000 : Math.round(ms / 1_000))}`;
}
