// @ts-check
/**
 * The browser side of Dormouse. Read in this order:
 *
 *   room-socket   one socket into one room, kept open: the states, and what leads from one to the next
 *   chat          a chat room as a page needs it: ordered messages, sending that survives a reconnect
 *   presence      who is here
 *
 * The other files are what these three are made of. None of them touches the DOM, and all of them run without a build.
 */

export { RoomSocket } from "./room-socket.js";
export { Chat } from "./chat.js";
export { Presence, STATUSES } from "./presence.js";

export { backoffDelay } from "./backoff.js";
export { CloseCode, afterClose, closeOfStatus, hintedDelay } from "./close-codes.js";
export { CONTENT_UNITS } from "./content.js";
export { isRoomName } from "./endpoints.js";
export { HttpError } from "./http.js";
export { SendError } from "./outbox.js";

/** @typedef {import("./room-socket.js").RoomSocketOptions} RoomSocketOptions */
/** @typedef {import("./room-socket.js").State} State */
/** @typedef {import("./room-socket.js").StateEvent} StateEvent */
/** @typedef {import("./chat.js").ChatOptions} ChatOptions */
/** @typedef {import("./presence.js").PresenceOptions} PresenceOptions */
/** @typedef {import("./credentials.js").Credentials} Credentials */
/** @typedef {import("./outbox.js").PendingMessage} PendingMessage */
/** @typedef {import("./protocol.js").ChatMessage} ChatMessage */
/** @typedef {import("./protocol.js").UserPresence} UserPresence */
/** @typedef {import("./protocol.js").Status} Status */
