// @ts-check
/** Finds addresses in messages. The caller creates the elements: text of users is never markup. */

/** The last character of an address: a full stop or bracket after it belongs to the sentence. */
const LAST = String.raw`[^\s<>"'.,;:!?)\]}]`;

const NAME = String.raw`[\p{L}\p{N}-]+`;

const WEB = String.raw`https?:\/\/[^\s<>"]+${LAST}`;

/** Without a scheme an address must begin a word and have a domain. */
const WWW = String.raw`(?<![\p{L}\p{N}@._\/-])www\.${NAME}(?:\.${NAME})+(?::\d+)?(?:[\/?#](?:[^\s<>"]*${LAST})?)?`;

/** The part before the `@` has 64 characters at most, which also bounds the search. */
const MAIL = String.raw`(?<![\p{L}\p{N}._%+@\/-])[\p{L}\p{N}._%+-]{1,64}@${NAME}(?:\.${NAME})*\.\p{L}{2,}(?![\p{L}\p{N}@-])`;

const ADDRESS = new RegExp(`(${WEB}|${WWW}|${MAIL})`, "u");

/**
 * @param {string} content
 * @returns {{ text: string, href?: string }[]} The content in pieces.
 */
export function withLinks(content) {
  return content
    .split(ADDRESS)
    .map((text, index) => (index % 2 === 1 ? withAddress(text) : { text }))
    .filter(({ text }) => text !== "");
}

/**
 * @param {string} text
 * @returns {{ text: string, href?: string }}
 */
function withAddress(text) {
  const href = addressOf(text);
  return URL.canParse(href) ? { text, href } : { text };
}

/** @param {string} text */
function addressOf(text) {
  if (/^https?:/.test(text)) return text;
  if (text.startsWith("www.")) return `https://${text}`;
  const at = text.lastIndexOf("@");
  // Encoded, so that no part is read as a mail header.
  return `mailto:${encodeURIComponent(text.slice(0, at))}@${text.slice(at + 1)}`;
}
