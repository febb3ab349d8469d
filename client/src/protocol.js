// @ts-check
/**
 * The frames of the two rooms that ship with Dormouse. Fields marked optional are unknown to a server that speaks
 * only the core of the protocol; nothing here may rely on them.
 */

/**
 * @typedef {Object} ChatMessage
 * @property {string} id
 * @property {string} userId
 * @property {string} userName
 * @property {string} content
 * @property {number} timestamp Unix milliseconds.
 * @property {number} [seq] 1, 2, 3 … per room, without gaps.
 * @property {string} [clientId] Chosen by the sender.
 *
 * @typedef {{ type: "history", messages: ChatMessage[], resumed?: boolean }} HistoryFrame
 * @typedef {{ type: "message", message: ChatMessage }} MessageFrame
 * @typedef {{ type: "user_joined" | "user_left", userId: string, userName: string, timestamp: number }} PassageFrame
 * @typedef {{ type: "typing", userId: string, userName: string }} TypingFrame
 * @typedef {{ type: "error", code: string, message: string, clientId?: string }} ErrorFrame
 * @typedef {HistoryFrame | MessageFrame | PassageFrame | TypingFrame | ErrorFrame} ChatFrame
 *
 * @typedef {"online" | "away" | "busy"} Status
 *
 * @typedef {Object} UserPresence
 * @property {string} userId
 * @property {string} userName
 * @property {Status} status
 * @property {number} lastSeen Unix milliseconds.
 * @property {number} [connections]
 *
 * @typedef {{ type: "presence_list", users: UserPresence[] }} PresenceListFrame
 * @typedef {{ type: "presence_update", user: UserPresence }} PresenceUpdateFrame
 * @typedef {{ type: "presence_remove", userId: string }} PresenceRemoveFrame
 * @typedef {PresenceListFrame | PresenceUpdateFrame | PresenceRemoveFrame | ErrorFrame} PresenceFrame
 */

/**
 * @template {{ type: string }} Frame
 * @param {string | ArrayBuffer} data
 * @returns {Frame | undefined} Nothing, where it is no frame at all. A `type` that the caller does not know must be
 *   ignored.
 */
export function parseFrame(data) {
  if (typeof data !== "string") return undefined;
  try {
    const frame = JSON.parse(data);
    return typeof frame?.type === "string" ? frame : undefined;
  } catch {
    return undefined;
  }
}
