// @ts-check
/** A face for everybody: the first letter of the name, on a colour that stays with the user. */

/** As many as the style sheets have. */
const HUES = 8;

/** How many users a palette remembers: a page that is open for weeks in a busy room must not grow for weeks. */
const REMEMBERED = 500;

/**
 * The colour that a user has where nobody else has it.
 *
 * @param {string} userId
 * @returns {number} From 0 to 7.
 */
export function hueOf(userId) {
  let hash = 0x811c9dc5;
  for (const character of userId) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  // The low bits alone would tell similar ids badly apart.
  return ((hash ^ (hash >>> 15)) >>> 0) % HUES;
}

/**
 * The colours of one room. Two users have the same one only where there are more users than colours; and a user keeps
 * theirs for as long as they are remembered.
 */
export class Palette {
  /** Who was shown longest ago comes first. @type {Map<string, number>} */
  #hues = new Map();

  /** @param {string} userId */
  hueOf(userId) {
    const known = this.#hues.get(userId);
    const hue = known ?? this.#freest(hueOf(userId));
    this.#hues.delete(userId);
    this.#hues.set(userId, hue);
    if (this.#hues.size > REMEMBERED) this.#hues.delete(/** @type {string} */ (this.#hues.keys().next().value));
    return hue;
  }

  /**
   * Without giving one out.
   *
   * @param {string} userId
   */
  knownHueOf(userId) {
    return this.#hues.get(userId) ?? hueOf(userId);
  }

  /** @param {number} preferred */
  #freest(preferred) {
    const counts = Array.from({ length: HUES }, () => 0);
    for (const hue of this.#hues.values()) counts[hue] = (counts[hue] ?? 0) + 1;
    const fewest = Math.min(...counts);
    // From the preferred one on, so that it is taken where it can be.
    const order = counts.map((_, step) => (preferred + step) % HUES);
    return order.find((hue) => counts[hue] === fewest) ?? preferred;
  }
}

/** @param {string} name */
export function initialOf(name) {
  const graphemes = new Intl.Segmenter().segment(name.trim());
  const first = graphemes[Symbol.iterator]().next();
  return first.done ? "?" : first.value.segment.toLocaleUpperCase();
}
