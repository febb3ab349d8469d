// @ts-check
/**
 * Decides whether a message that was pending when the connection was lost may be sent again: only if it cannot be
 * stored twice. A pure function, called after the history of the new connection has settled the messages that it shows.
 */

/** How long a server deduplicates one `clientId`, ms: ten minutes, minus one for the transit. */
const STORED_ONCE_MS = 9 * 60_000;

/**
 * @param {Object} message
 * @param {number | undefined} message.sentAt When it was first sent, on the same clock as `now`; `undefined` if never.
 * @param {number} message.now
 * @param {boolean} message.isComplete The histories have shown every message stored since it was first sent.
 * @param {boolean} message.storesOnce The server deduplicates by `clientId`.
 * @returns {"send" | "give-up"}
 */
export function afterHistory({ sentAt, now, isComplete, storesOnce }) {
  if (sentAt === undefined) return "send";
  if (isComplete) return "send"; // all stored messages are known, and it is not among them
  return storesOnce && now - sentAt < STORED_ONCE_MS ? "send" : "give-up";
}
