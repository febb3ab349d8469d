// @ts-check
/** The browser's storage. If the browser refuses it, values last until the page is reloaded. */

/** @type {Map<string, string>} */
const fallback = new Map();

/**
 * @param {string} key
 * @param {"localStorage" | "sessionStorage"} [where]
 * @returns {string | undefined}
 */
export function recall(key, where = "localStorage") {
  try {
    return window[where].getItem(`dormouse.${key}`) ?? undefined;
  } catch {
    return fallback.get(key);
  }
}

/**
 * @param {string} key
 * @param {string} value
 * @param {"localStorage" | "sessionStorage"} [where]
 */
export function remember(key, value, where = "localStorage") {
  try {
    window[where].setItem(`dormouse.${key}`, value);
  } catch {
    fallback.set(key, value);
  }
}
