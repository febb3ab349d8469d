// @ts-check
/** The two DOM functions that every part of the page uses. */

/**
 * @template {HTMLElement} [Kind=HTMLElement]
 * @param {string} id
 * @param {{ new (): Kind }} [kind]
 * @returns {Kind}
 */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof (kind ?? HTMLElement))) throw new Error(`the page has no #${id}`);
  return /** @type {Kind} */ (found);
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {{ class?: string, hidden?: boolean }} [attributes]
 * @param {...(Node | string)} children Strings become text, never markup.
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  if (attributes.class) element.className = attributes.class;
  if (attributes.hidden) element.setAttribute("aria-hidden", "true");
  element.append(...children);
  return element;
}
