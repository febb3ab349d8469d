// @ts-check
/**
 * The browser client of Dormouse. Read in this order:
 *
 *   room-socket   one socket to one room, kept open: its states and what leads from one to the next
 *   calls         asking a room, with an answer that survives a reconnect
 *   transport     how to connect: by WebSocket, or by event stream where a network blocks WebSockets
 *   chat          a chat room as a page needs it: ordered messages, and sending that survives a reconnect
 *   presence      the users who are present
 *
 * The other files are parts of these. None of them touches the DOM, and all of them run without a build.
 */

export { RoomSocket } from "./room-socket.js";
export { Chat } from "./chat.js";
export { Presence, STATUSES } from "./presence.js";

export { CallError } from "./calls.js";
export { backoffDelay } from "./backoff.js";
export { CloseCode, afterClose, closeFromStatus, hintedDelay } from "./close-codes.js";
export { MAX_CONTENT_UNITS } from "./content.js";
export { userOf } from "./credentials.js";
export { isRoomName } from "./endpoints.js";
export { HttpError, fetchTicket } from "./http.js";
export { SendError } from "./pending-messages.js";
export { parseFrame } from "./protocol.js";

/**
 * @typedef {import("./room-socket.js").RoomSocketOptions} RoomSocketOptions
 * @typedef {import("./calls.js").CallOptions} CallOptions
 * @typedef {import("./calls.js").CallTypes} CallTypes
 * @typedef {import("./room-socket.js").State} State
 * @typedef {import("./room-socket.js").StateEvent} StateEvent
 * @typedef {import("./room-socket.js").Timing} Timing
 * @typedef {import("./room-socket.js").EventsOptions} EventsOptions
 * @typedef {import("./transport.js").Transport} Transport
 * @typedef {import("./transport.js").TransportChoice} TransportChoice
 * @typedef {import("./post-queue.js").Post} Post
 * @typedef {import("./post-queue.js").Answer} Answer
 * @typedef {import("./send-queue.js").Data} Data
 * @typedef {import("./send-queue.js").QueuePolicy} QueuePolicy
 * @typedef {import("./close-codes.js").Close} Close
 * @typedef {import("./credentials.js").Credentials} Credentials
 * @typedef {import("./credentials.js").CredentialsRequest} CredentialsRequest
 * @typedef {import("./chat.js").ChatOptions} ChatOptions
 * @typedef {import("./chat.js").ChatEvents} ChatEvents
 * @typedef {import("./pending-messages.js").PendingMessage} PendingMessage
 * @typedef {import("./typing.js").TypingUser} TypingUser
 * @typedef {import("./permissions.js").Permission} Permission
 * @typedef {import("./permissions.js").Permissions} Permissions
 * @typedef {import("./presence.js").PresenceOptions} PresenceOptions
 * @typedef {import("./presence.js").PresenceEvents} PresenceEvents
 *
 * The protocol:
 *
 * @typedef {import("./protocol.js").ChatMessage} ChatMessage
 * @typedef {import("./protocol.js").ChatFrame} ChatFrame
 * @typedef {import("./protocol.js").HistoryFrame} HistoryFrame
 * @typedef {import("./protocol.js").MessageFrame} MessageFrame
 * @typedef {import("./protocol.js").UserJoinedFrame} UserJoinedFrame
 * @typedef {import("./protocol.js").UserLeftFrame} UserLeftFrame
 * @typedef {import("./protocol.js").TypingFrame} TypingFrame
 * @typedef {import("./protocol.js").ErrorFrame} ErrorFrame
 * @typedef {import("./protocol.js").PermissionsFrame} PermissionsFrame
 * @typedef {import("./protocol.js").DeletedFrame} DeletedFrame
 * @typedef {import("./protocol.js").MutedFrame} MutedFrame
 * @typedef {import("./protocol.js").Deletion} Deletion
 * @typedef {import("./protocol.js").Mute} Mute
 * @typedef {import("./protocol.js").DeleteCommand} DeleteCommand
 * @typedef {import("./protocol.js").MuteCommand} MuteCommand
 * @typedef {import("./protocol.js").DeleteMessageAnswer} DeleteMessageAnswer
 * @typedef {import("./protocol.js").PostMuteBody} PostMuteBody
 * @typedef {import("./protocol.js").PostMuteAnswer} PostMuteAnswer
 * @typedef {import("./protocol.js").ChatCommand} ChatCommand
 * @typedef {import("./protocol.js").MessageCommand} MessageCommand
 * @typedef {import("./protocol.js").TypingCommand} TypingCommand
 * @typedef {import("./protocol.js").MessagesPage} MessagesPage
 * @typedef {import("./protocol.js").PostMessageBody} PostMessageBody
 * @typedef {import("./protocol.js").PostMessageAnswer} PostMessageAnswer
 * @typedef {import("./protocol.js").UserPresence} UserPresence
 * @typedef {import("./protocol.js").Status} Status
 * @typedef {import("./protocol.js").PresenceFrame} PresenceFrame
 * @typedef {import("./protocol.js").PresenceListFrame} PresenceListFrame
 * @typedef {import("./protocol.js").PresenceUpdateFrame} PresenceUpdateFrame
 * @typedef {import("./protocol.js").PresenceRemoveFrame} PresenceRemoveFrame
 * @typedef {import("./protocol.js").PresenceCommand} PresenceCommand
 * @typedef {import("./protocol.js").StatusCommand} StatusCommand
 * @typedef {import("./protocol.js").HeartbeatCommand} HeartbeatCommand
 * @typedef {import("./protocol.js").PresenceList} PresenceList
 * @typedef {import("./protocol.js").PostStatusBody} PostStatusBody
 * @typedef {import("./protocol.js").PostStatusAnswer} PostStatusAnswer
 * @typedef {import("./protocol.js").Ticket} Ticket
 * @typedef {import("./protocol.js").Problem} Problem
 */
