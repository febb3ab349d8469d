// @ts-check
/** Formats times and days for people. */

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });

/** By locale and form, because creating a format is slow. @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/** @param {number} timestamp */
export function timeOf(timestamp) {
  return clock.format(timestamp);
}

/**
 * The same value for all times of one local day.
 *
 * @param {number} timestamp
 */
export function dayOf(timestamp) {
  return new Date(timestamp).setHours(0, 0, 0, 0);
}

/**
 * @param {number} day From `dayOf`.
 * @param {number} now
 * @param {{ today: string, yesterday: string, locale: string | undefined }} [words]
 */
export function dayName(day, now, words = { today: "Today", yesterday: "Yesterday", locale: "en" }) {
  const yesterday = new Date(now);
  yesterday.setDate(yesterday.getDate() - 1);
  if (day === dayOf(now)) return words.today;
  if (day === dayOf(yesterday.getTime())) return words.yesterday;
  return format(words.locale, new Date(day).getFullYear() === new Date(now).getFullYear()).format(day);
}

/**
 * @param {string | undefined} locale
 * @param {boolean} isThisYear
 */
function format(locale, isThisYear) {
  const key = `${locale} ${isThisYear}`;
  const known = formats.get(key);
  if (known) return known;
  const fresh = new Intl.DateTimeFormat(
    locale,
    isThisYear
      ? { weekday: "long", day: "numeric", month: "long" }
      : { day: "numeric", month: "long", year: "numeric" },
  );
  formats.set(key, fresh);
  return fresh;
}
