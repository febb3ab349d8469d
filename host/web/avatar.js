// @ts-check
/** Puts a face on an element. */

import { hueOf, initialOf } from "/client/view/people.js";

/**
 * @param {Element} element
 * @param {{ userId: string, userName: string }} user
 */
export function dressAvatar(element, { userId, userName }) {
  element.textContent = initialOf(userName);
  element.setAttribute("data-hue", String(hueOf(userId)));
}
