// @ts-check
/** Renders a user's avatar. */

import { Palette, initialOf } from "/client/view/people.js";

/** The colours of the users in the current room. */
let palette = new Palette();

/** Another room has other users, so colours are assigned again. */
export function resetColours() {
  palette = new Palette();
}

/** @param {string} userId */
export function colourOf(userId) {
  return String(palette.hueOf(userId));
}

/**
 * For users who are listed and may never write here: they take no colour from those who do.
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
