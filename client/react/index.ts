"use client";
/**
 * Dormouse for React. Read in this order:
 *
 *   provider         where the rooms are, and who asks
 *   use-room         a chat room as state
 *   use-presence     who is here
 *   chat-room        a whole chat room, ready
 *   use-room-socket  a room of your own: its socket, with your messages
 *   use-web-socket   one WebSocket, for any protocol
 *
 * None of them holds a connection itself: that is `RoomSocket`, `Chat` and `Presence` of the core, which React only
 * subscribes to. `ref-counted` says when they are opened and closed.
 */

export { DormouseProvider, type DormouseProviderProps } from "./provider.js";
export { useRoom, type Room, type RoomActions, type UseRoomOptions } from "./use-room.js";
export { usePresence, type PresenceState } from "./use-presence.js";
export { ChatRoom, type ChatRoomProps } from "./chat-room.js";
export { LABELS, type ChatRoomLabels } from "./labels.js";
export { useWebSocket, type UseWebSocketOptions, type UseWebSocketResult } from "./use-web-socket.js";
export { useRoomSocket, type RoomSocketResult, type UseRoomSocketOptions } from "./use-room-socket.js";
