"use client";
/**
 * Dormouse for React. Read in this order:
 *
 *   provider         the server, and the credentials
 *   use-room         a chat room as state
 *   use-presence     the users who are present
 *   chat-room        a complete chat room
 *   use-room-socket  the socket of your own room, with typed messages
 *   use-web-socket   one WebSocket, for any protocol
 *
 * None of them has the connection itself: `RoomSocket`, `Chat` and `Presence` of the core do, and React only subscribes
 * to them. `ref-counted` decides when they open and close.
 */

export { DormouseProvider, type DormouseProviderProps } from "./provider.js";
export { useRoom, type Room, type RoomActions, type UseRoomOptions } from "./use-room.js";
export { usePresence, type PresenceState } from "./use-presence.js";
export { ChatRoom, type ChatRoomProps } from "./chat-room.js";
export { LABELS, type ChatRoomLabels } from "./labels.js";
export { useWebSocket, type UseWebSocketOptions, type UseWebSocketResult } from "./use-web-socket.js";
export { useRoomSocket, type RoomSocketResult, type UseRoomSocketOptions } from "./use-room-socket.js";
