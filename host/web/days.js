// @ts-check
/** Times as people say them. */

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat("en", { weekday: "long", day: "numeric", month: "long" });
const longAgo = new Intl.DateTimeFormat("en", { day: "numeric", month: "long", year: "numeric" });

/** @param {number} timestamp */
export function timeOf(timestamp) {
  return clock.format(timestamp);
}

/**
 * The same for all moments of one local day.
 *
 * @param {number} timestamp
 */
export function dayOf(timestamp) {
  return new Date(timestamp).setHours(0, 0, 0, 0);
}

/**
 * @param {number} day From `dayOf`.
 * @param {number} now
 */
export function dayName(day, now) {
  const yesterday = new Date(now);
  yesterday.setDate(yesterday.getDate() - 1);
  if (day === dayOf(now)) return "Today";
  if (day === dayOf(yesterday.getTime())) return "Yesterday";
  return (new Date(day).getFullYear() === new Date(now).getFullYear() ? weekday : longAgo).format(day);
}
