// @ts-check
/**
 * Cuts the text of a message as the server does. The pending message, its echo and what others see are then equal, and
 * every frame is far below the largest allowed.
 */

/** UTF-16 code units. */
export const MAX_CONTENT_UNITS = 2_000;

/**
 * Never cuts a surrogate pair, and replaces half a pair that was cut before: it is not valid in a JSON string.
 *
 * @param {string} content
 * @param {number} [units]
 */
export function fitContent(content, units = MAX_CONTENT_UNITS) {
  const fitting = content.slice(0, units);
  const isCutInPair = content.length > units && /[\uD800-\uDBFF]$/.test(fitting);
  const whole = isCutInPair ? fitting.slice(0, -1) : fitting;
  return whole.replace(/\p{Surrogate}/gu, "\uFFFD");
}
