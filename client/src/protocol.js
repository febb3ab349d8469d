// @ts-check
/**
 * Every frame and body of the two rooms that ship with Dormouse, as types; `type` distinguishes frames. Optional fields
 * are unknown to a server that has only the core protocol, so nothing here may rely on them.
 *
 * The checks follow the types. The compiler ties them together: a field without a check does not compile. Everything
 * from the server is checked here before the client uses it.
 */

import { ProtocolError, flag, listOf, moment, oneOf, optional, record, text, wholeFrom } from "./shape.js";

export { ProtocolError };

/**
 * @typedef {Object} ChatMessage
 * @property {string} id
 * @property {string} userId
 * @property {string} userName
 * @property {string} content
 * @property {number} timestamp Unix milliseconds.
 * @property {number} [seq] 1, 2, 3 … per room, without gaps.
 * @property {string} [clientId] Chosen by the sender.
 * @property {{ by: string, at: number }} [deleted] A moderator has deleted it: `content` is empty. `by` is the id of
 *   the moderator, `at` in Unix milliseconds.
 *
 * @typedef {{ id: string, seq?: number, by: string, at: number }} Deletion Of the message with this id.
 * @typedef {{ user: string, until: number, seconds: number, by: string }} Mute `user` and `by` are ids of users.
 *   `until` in Unix milliseconds of the server; `seconds`: the time left, 0 if it has ended.
 *
 * From a chat room to its clients:
 *
 * @typedef {Object} HistoryFrame The first frame.
 * @property {"history"} type
 * @property {ChatMessage[]} messages
 * @property {boolean} [resumed] These are all messages after the requested `since`; otherwise they are the latest ones.
 * @property {Deletion[]} [deleted] Of a resumed room: messages that may have been deleted since.
 * @property {Mute} [muted] The user's own mute.
 * @property {string} [incarnation] Names the numbering of the room. It changes when the numbers start again or return
 *   to a backup.
 *
 * @typedef {{ type: "message", message: ChatMessage }} MessageFrame To all sockets in the room, once it is durable.
 * @typedef {{ type: "user_joined", userId: string, userName: string, timestamp: number }} UserJoinedFrame
 * @typedef {{ type: "user_left", userId: string, userName: string, timestamp: number }} UserLeftFrame
 * @typedef {{ type: "typing", userId: string, userName: string }} TypingFrame
 * @typedef {{ type: "deleted" } & Deletion} DeletedFrame To all sockets in the room, once it is durable.
 * @typedef {{ type: "muted" } & Mute} MutedFrame To all sockets in the room.
 *
 * @typedef {Object} ErrorFrame To the client that caused it.
 * @property {"error"} type
 * @property {string} code
 * @property {string} message
 * @property {string} [clientId]
 * @property {string} [permission] Of `forbidden`: the missing one, if it is another than `write`.
 * @property {number} [until] Of `muted`, as in a `Mute`.
 * @property {number} [seconds]
 *
 * @typedef {{ type: "permissions", permissions: string[] }} PermissionsFrame Behind the first frame, and after a new
 *   token has changed them. Only from a server that asks for grants.
 * @typedef {HistoryFrame
 *   | MessageFrame
 *   | UserJoinedFrame
 *   | UserLeftFrame
 *   | TypingFrame
 *   | DeletedFrame
 *   | MutedFrame
 *   | ErrorFrame
 *   | PermissionsFrame} ChatFrame
 *
 * From a client to a chat room:
 *
 * @typedef {{ type: "message", content: string, clientId?: string }} MessageCommand The same `clientId` is stored once.
 * @typedef {{ type: "typing" }} TypingCommand
 * @typedef {{ type: "delete", id: string, seq?: number, clientId?: string }} DeleteCommand Takes `moderate`, as does
 *   the next. This client sends both over HTTP, where each has an answer.
 * @typedef {{ type: "mute", user: string, seconds: number, clientId?: string }} MuteCommand 0 seconds end a mute.
 * @typedef {MessageCommand | TypingCommand | DeleteCommand | MuteCommand} ChatCommand
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
 * @typedef {{ type: "presence_list", users: UserPresence[], next?: string }} PresenceListFrame `next`: the list is not
 *   whole, and goes on at GET `/presence/list?after=NEXT`.
 * @typedef {{ type: "presence_update", user: UserPresence }} PresenceUpdateFrame
 * @typedef {{ type: "presence_remove", userId: string }} PresenceRemoveFrame
 * @typedef {PresenceListFrame | PresenceUpdateFrame | PresenceRemoveFrame | ErrorFrame | PermissionsFrame} PresenceFrame
 *
 * From a client to a presence room:
 *
 * @typedef {{ type: "status", status: Status }} StatusCommand
 * @typedef {{ type: "heartbeat" }} HeartbeatCommand
 * @typedef {StatusCommand | HeartbeatCommand} PresenceCommand
 *
 * Over HTTP:
 *
 * @typedef {{ messages: ChatMessage[], hasMore?: boolean }} MessagesPage GET `/rooms/{roomId}/messages`
 * @typedef {{ content: string, clientId?: string }} PostMessageBody POST `/rooms/{roomId}/messages`
 * @typedef {{ success: true, message?: ChatMessage }} PostMessageAnswer Answer to it.
 * @typedef {{ success: true, deleted: Deletion }} DeleteMessageAnswer DELETE `/rooms/{roomId}/messages/{id}`
 * @typedef {{ user: string, seconds: number }} PostMuteBody POST `/rooms/{roomId}/mutes`
 * @typedef {{ success: true, mute: Mute }} PostMuteAnswer Answer to it.
 * @typedef {{ users: UserPresence[], next?: string }} PresenceList GET `/presence/list`
 * @typedef {{ status: Status }} PostStatusBody POST `/presence/update`. A `HeartbeatCommand` there changes no status.
 * @typedef {{ success: true }} PostStatusAnswer Answer to it.
 * @typedef {{ ticket: string, expiresIn: number }} Ticket POST `/tickets`; `expiresIn` in seconds.
 * @typedef {{ type?: string, title?: string, status?: number, detail?: string }} Problem Any answer of 400 and above.
 */

/** @type {readonly Status[]} */
export const STATUSES = Object.freeze(/** @type {Status[]} */ (["online", "away", "busy"]));

/** @type {import("./shape.js").Read<{ by: string, at: number }>} */
const deletedBy = record({ by: text, at: moment });

/** @type {import("./shape.js").Read<ChatMessage>} */
const chatMessage = record({
  id: text,
  userId: text,
  userName: text,
  content: text,
  timestamp: moment,
  seq: optional(wholeFrom(1)),
  clientId: optional(text),
  deleted: optional(deletedBy),
});

/** @type {import("./shape.js").Read<Deletion>} */
const deletion = record({ id: text, seq: optional(wholeFrom(1)), by: text, at: moment });

/** @type {import("./shape.js").Read<Mute>} */
const mute = record({ user: text, until: moment, seconds: wholeFrom(0), by: text });

/** @type {import("./shape.js").Read<UserPresence>} */
const userPresence = record({
  userId: text,
  userName: text,
  status: oneOf(STATUSES),
  lastSeen: moment,
  connections: optional(wholeFrom(0)),
});

/** @type {import("./shape.js").Read<ErrorFrame>} */
const errorFrame = record({
  type: oneOf(["error"]),
  code: text,
  message: text,
  clientId: optional(text),
  permission: optional(text),
  until: optional(moment),
  seconds: optional(wholeFrom(0)),
});

/** @type {import("./shape.js").Read<PermissionsFrame>} */
const permissionsFrame = record({ type: oneOf(["permissions"]), permissions: listOf(text) });

/** @type {{ [Type in ChatFrame["type"]]: import("./shape.js").Read<Extract<ChatFrame, { type: Type }>> }} */
const CHAT_FRAMES = {
  history: record({
    type: oneOf(["history"]),
    messages: listOf(chatMessage),
    resumed: optional(flag),
    deleted: optional(listOf(deletion)),
    muted: optional(mute),
    incarnation: optional(text),
  }),
  message: record({ type: oneOf(["message"]), message: chatMessage }),
  user_joined: record({ type: oneOf(["user_joined"]), userId: text, userName: text, timestamp: moment }),
  user_left: record({ type: oneOf(["user_left"]), userId: text, userName: text, timestamp: moment }),
  typing: record({ type: oneOf(["typing"]), userId: text, userName: text }),
  deleted: record({ type: oneOf(["deleted"]), id: text, seq: optional(wholeFrom(1)), by: text, at: moment }),
  muted: record({ type: oneOf(["muted"]), user: text, until: moment, seconds: wholeFrom(0), by: text }),
  error: errorFrame,
  permissions: permissionsFrame,
};

/** @type {{ [Type in PresenceFrame["type"]]: import("./shape.js").Read<Extract<PresenceFrame, { type: Type }>> }} */
const PRESENCE_FRAMES = {
  presence_list: record({ type: oneOf(["presence_list"]), users: listOf(userPresence), next: optional(text) }),
  presence_update: record({ type: oneOf(["presence_update"]), user: userPresence }),
  presence_remove: record({ type: oneOf(["presence_remove"]), userId: text }),
  error: errorFrame,
  permissions: permissionsFrame,
};

/**
 * @param {string | ArrayBuffer} data
 * @returns {ChatFrame | undefined} `undefined` for an unknown `type`.
 * @throws {ProtocolError}
 */
export function readChatFrame(data) {
  return readFrame(CHAT_FRAMES, data);
}

/**
 * @param {string | ArrayBuffer} data
 * @returns {PresenceFrame | undefined} `undefined` for an unknown `type`.
 * @throws {ProtocolError}
 */
export function readPresenceFrame(data) {
  return readFrame(PRESENCE_FRAMES, data);
}

/** @type {import("./shape.js").Read<MessagesPage>} */
const messagesPage = record({ messages: listOf(chatMessage), hasMore: optional(flag) });

/**
 * @param {unknown} body
 * @throws {ProtocolError}
 */
export function readMessagesPage(body) {
  return messagesPage(body, "");
}

/** @type {import("./shape.js").Read<PresenceList>} */
const presenceList = record({ users: listOf(userPresence), next: optional(text) });

/**
 * @param {unknown} body
 * @throws {ProtocolError}
 */
export function readPresenceList(body) {
  return presenceList(body, "");
}

/** @type {import("./shape.js").Read<Pick<PostMessageAnswer, "message">>} */
const posted = record({ message: optional(chatMessage) });

/**
 * @param {unknown} body
 * @returns {ChatMessage | undefined} `undefined` if the server does not return the message.
 * @throws {ProtocolError}
 */
export function readPosted(body) {
  return body == null ? undefined : posted(body, "").message;
}

/** @type {import("./shape.js").Read<Pick<DeleteMessageAnswer, "deleted">>} */
const deletedAnswer = record({ deleted: deletion });

/**
 * @param {unknown} body
 * @throws {ProtocolError}
 */
export function readDeleted(body) {
  return deletedAnswer(body, "").deleted;
}

/** @type {import("./shape.js").Read<Ticket>} */
const ticket = record({ ticket: text, expiresIn: wholeFrom(0) });

/**
 * @param {unknown} body
 * @throws {ProtocolError}
 */
export function readTicket(body) {
  return ticket(body, "");
}

/**
 * @param {unknown} body Any value: it may come from a proxy.
 * @returns {string | undefined} The problem's text, if it has one.
 */
export function problemText(body) {
  const { detail, title } = /** @type {Record<string, unknown>} */ (Object(body));
  return [detail, title].find((words) => typeof words === "string");
}

/**
 * @template {Record<string, import("./shape.js").Read<any>>} Frames
 * @param {Frames} frames
 * @param {string | ArrayBuffer} data
 * @returns {ReturnType<Frames[keyof Frames]> | undefined}
 */
function readFrame(frames, data) {
  const frame = parseFrame(data);
  if (frame === undefined) throw new ProtocolError("a frame must be JSON text: an object with a type");
  return Object.hasOwn(frames, frame.type) ? frames[frame.type]?.(frame, "") : undefined;
}

/**
 * @template {{ type: string }} Frame
 * @param {string | ArrayBuffer} data
 * @returns {Frame | undefined} `undefined` if it is no frame. The caller must ignore an unknown `type`.
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
