// @ts-check
/** Puts a face on an element. */

import { Palette, initialOf } from "/client/view/people.js";

/** The colours of the room that the page is in. */
let palette = new Palette();

/** Another room has other people, and gives its colours anew. */
export function resetColours() {
  palette = new Palette();
}

/** @param {string} userId */
export function colourOf(userId) {
  return String(palette.hueOf(userId));
}

/**
 * For people who are listed and may never speak here: they take no colour away from those who do.
 *
 * @param {string} userId
 */
export function knownColourOf(userId) {
  return String(palette.knownHueOf(userId));
}

/**
 * @param {Element} element
 * @param {{ userId: string, userName: string }} user
 * @param {string} [colour]
 */
export function renderAvatar(element, { userId, userName }, colour = colourOf(userId)) {
  element.textContent = initialOf(userName);
  element.setAttribute("data-hue", colour);
}
