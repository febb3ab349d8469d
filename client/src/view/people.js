// @ts-check
/** An avatar for each user: the first letter of the name, on a colour that the user keeps. */

/** As many as the style sheets define. */
const HUES = 8;

/** How many users a palette remembers: a page that stays open for weeks in a busy room must not grow for weeks. */
const REMEMBERED = 500;

/**
 * The colour of a user if no other user of the room has it.
 *
 * @param {string} userId
 * @returns {number} From 0 to 7.
 */
export function hueOf(userId) {
  let hash = 0x811c9dc5;
  for (const character of userId) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  // The low bits alone would give similar ids the same colour too often.
  return ((hash ^ (hash >>> 15)) >>> 0) % HUES;
}

/**
 * The colours of one room. Two users share a colour only if there are more users than colours, and a user keeps a
 * colour for as long as they are remembered.
 */
export class Palette {
  /** The user who was shown longest ago is first. @type {Map<string, number>} */
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
   * The colour of a user, without assigning one.
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
    // Starts at the preferred one, so that it is chosen if it is among the least used.
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
