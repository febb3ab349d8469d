// @ts-check
/** Finds the addresses in what people write. The caller makes elements of it: what others wrote is never markup. */

/**
 * @param {string} content
 * @returns {{ text: string, href?: string }[]} The content in pieces.
 */
export function withLinks(content) {
  // A full stop or bracket after an address belongs to the sentence.
  const pieces = content.split(/(https?:\/\/[^\s<>"]+[^\s<>"'.,;:!?)\]}])/u);
  return pieces
    .map((text, index) => (index % 2 === 1 && URL.canParse(text) ? { text, href: text } : { text }))
    .filter(({ text }) => text !== "");
}
