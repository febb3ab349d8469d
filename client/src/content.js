// @ts-check
/**
 * What a message may say. The server cuts in the same way; cutting here as well keeps the pending message, the echo
 * and what the others see alike, and every frame far below the largest.
 */

/** UTF-16 code units. */
export const MAX_CONTENT_UNITS = 2_000;

/**
 * Never cuts inside a surrogate pair, and mends a pair that was cut before: half a pair is no valid JSON string.
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
