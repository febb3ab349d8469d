// @ts-check
/**
 * Whether a message that was not settled before the connection was lost may be sent again: never so that it could
 * be stored twice. Decided from plain values, after the history that opens a connection has settled what it could.
 */

/** For how long a server stores one `clientId` once, ms: ten minutes, less one for the way there. */
const STORED_ONCE_MS = 9 * 60_000;

/**
 * @param {Object} message
 * @param {number | undefined} message.sentAt When it first left, if it did; any clock, the same as `now`.
 * @param {number} message.now
 * @param {boolean} message.isComplete The histories have shown everything that was stored since it first left.
 * @param {boolean} message.storesOnce The server stores one `clientId` once.
 * @returns {"send" | "give-up"}
 */
export function afterHistory({ sentAt, now, isComplete, storesOnce }) {
  if (sentAt === undefined) return "send";
  if (isComplete) return "send"; // what was stored is in view, and it is not there
  return storesOnce && now - sentAt < STORED_ONCE_MS ? "send" : "give-up";
}
