// @ts-check
/**
 * Every message of the two rooms that ship with Dormouse, as types: told apart by `type`. Fields marked optional are
 * unknown to a server that speaks only the core of the protocol; nothing here may rely on them.
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
 * A chat room to its clients:
 *
 * @typedef {{ type: "history", messages: ChatMessage[], resumed?: boolean }} HistoryFrame The first frame. `resumed`:
 *   these are all messages after the `since` that was asked for; otherwise they are the last ones.
 * @typedef {{ type: "message", message: ChatMessage }} MessageFrame To everybody, once it is durable.
 * @typedef {{ type: "user_joined", userId: string, userName: string, timestamp: number }} UserJoinedFrame
 * @typedef {{ type: "user_left", userId: string, userName: string, timestamp: number }} UserLeftFrame
 * @typedef {{ type: "typing", userId: string, userName: string }} TypingFrame
 * @typedef {{ type: "error", code: string, message: string, clientId?: string }} ErrorFrame To who caused it.
 * @typedef {HistoryFrame | MessageFrame | UserJoinedFrame | UserLeftFrame | TypingFrame | ErrorFrame} ChatFrame
 *
 * A client to a chat room:
 *
 * @typedef {{ type: "message", content: string, clientId?: string }} SayCommand The same `clientId` is stored once.
 * @typedef {{ type: "typing" }} TypingCommand
 * @typedef {SayCommand | TypingCommand} ChatCommand
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
 *
 * A client to a presence room:
 *
 * @typedef {{ type: "status", status: Status }} StatusCommand
 * @typedef {{ type: "heartbeat" }} HeartbeatCommand
 * @typedef {StatusCommand | HeartbeatCommand} PresenceCommand
 *
 * Over HTTP:
 *
 * @typedef {{ messages: ChatMessage[], hasMore?: boolean }} MessagesPage GET `/rooms/{roomId}/messages`
 * @typedef {{ content: string, clientId?: string }} PostMessage POST `/rooms/{roomId}/messages`
 * @typedef {{ success: true, message?: ChatMessage }} Posted Its answer.
 * @typedef {{ users: UserPresence[] }} PresenceList GET `/presence/list`
 * @typedef {{ status: Status }} PostStatus POST `/presence/update`
 * @typedef {{ success: true }} StatusPosted Its answer.
 * @typedef {{ ticket: string, expiresIn: number }} Ticket POST `/tickets`; `expiresIn` in seconds.
 * @typedef {{ type?: string, title?: string, status?: number, detail?: string }} Problem Any answer of 400 and above.
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
