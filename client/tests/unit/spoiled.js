// @ts-check
/** Frames of a faulty server or proxy: valid ones with random errors. A seed repeats them. */

/** Values of the wrong kind. One number is valid JSON and too large for a `Date`. */
const ODD = [
  "null",
  "7",
  "-1",
  "0.5",
  "1e999",
  "9007199254740993",
  '""',
  '"7"',
  "true",
  "[]",
  "{}",
  "[null]",
  '{"a":1}',
];

/** @param {number} seed @returns {() => number} From 0 to 1: mulberry32. */
export function chance(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * @param {unknown} frame
 * @param {() => number} random
 * @returns {string}
 */
export function spoil(frame, random) {
  const copy = structuredClone(frame);
  /** @template Item @param {readonly Item[]} items @returns {Item} */
  const pick = (items) => /** @type {Item} */ (items[Math.floor(random() * items.length)]);
  const text = () => JSON.stringify(copy);
  const places = placesIn(copy);
  const { holder, key } = pick(places);
  switch (pick(["delete", "odd", "odd", "odd", "cut", "character", "move", "double"])) {
    case "delete":
      if (Array.isArray(holder)) holder.splice(Number(key), 1);
      else delete holder[key];
      return text();
    case "odd":
      holder[key] = "the odd value";
      return text().replace('"the odd value"', () => pick(ODD));
    case "cut":
      return text().slice(0, Math.floor(random() * text().length));
    case "character": {
      const at = Math.floor(random() * text().length);
      return text().slice(0, at) + pick(['"', "{", "]", "\\", "\u0000", "x", "\ud800"]) + text().slice(at + 1);
    }
    case "move": {
      const other = pick(places);
      holder[key] = structuredClone(other.holder[other.key]);
      return text();
    }
    default:
      return text() + text();
  }
}

/**
 * @param {any} value
 * @returns {{ holder: any, key: string }[]} Everything that can be changed in it.
 */
function placesIn(value) {
  if (typeof value !== "object" || value === null) return [];
  return Object.keys(value).flatMap((key) => [{ holder: value, key }, ...placesIn(value[key])]);
}
