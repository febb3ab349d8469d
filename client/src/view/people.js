// @ts-check
/** A face for everybody: the first letter of the name, on a colour that stays with the user. */

/** As many as the style sheets have. */
const HUES = 8;

/**
 * @param {string} userId
 * @returns {number} From 0 to 7.
 */
export function hueOf(userId) {
  let hash = 0x811c9dc5;
  for (const character of userId) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  // The low bits alone would tell similar ids badly apart.
  return ((hash ^ (hash >>> 15)) >>> 0) % HUES;
}

/** @param {string} name */
export function initialOf(name) {
  const graphemes = new Intl.Segmenter().segment(name.trim());
  const first = graphemes[Symbol.iterator]().next();
  return first.done ? "?" : first.value.segment.toLocaleUpperCase();
}
