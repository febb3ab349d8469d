/** A chat room as state: its messages, the user's pending ones, and the users who are typing. */

import { useEffect, useMemo } from "react";
import {
  type Chat,
  type ChatMessage,
  type Close,
  type ErrorFrame,
  type PendingMessage,
  type Permissions,
  SendError,
  type State,
  type Transport,
  type TypingUser,
} from "../src/index.js";
import type { RefCounted } from "./ref-counted.js";
import { useRefCounted, useLatest, useEmitterState } from "./hooks.js";
import { useConnections } from "./provider.js";

export interface UseRoomOptions {
  /** A new message of any user, including our own, while the page is connected. Not for messages of a history. */
  onMessage?: (message: ChatMessage) => void;
  onJoined?: (user: TypingUser) => void;
  onLeft?: (user: TypingUser) => void;
  /** The server refused a command of ours. */
  onError?: (error: ErrorFrame) => void;
  /** More was missed than the server could show: `messages` starts again with the latest ones. */
  onResync?: () => void;
}

export interface Room extends RoomActions {
  /** Oldest first, each once, without a gap. */
  messages: readonly ChatMessage[];
  /** The user's own messages that are not stored yet, in the order of writing. They belong below `messages`. */
  pending: readonly PendingMessage[];
  /** The other users who are typing. */
  typingUsers: readonly TypingUser[];
  state: State;
  isConnected: boolean;
  /** The transport of this connection or of the last attempt: `events` where WebSockets are blocked. */
  transport: Transport;
  /** Over events only. True: tabs of this browser cannot share a stream, so each tab uses its own connections. */
  isUnshared: boolean;
  /** While waiting: when the next attempt is due, in Unix milliseconds. */
  retryAt: number | undefined;
  /** While waiting or closed: why the last connection ended. */
  close: Close | undefined;
  /** Whether a history was received. Before that, an empty list does not mean an empty room. */
  hasHistory: boolean;
  /** Whether `loadOlder` may find messages. */
  hasOlder: boolean;
  /** The user's own id, if it is known. */
  userId: string | undefined;
  /** What the user may do in the room. `undefined`: the server asks for no grants, so the user may read and write. */
  permissions: Permissions;
  /** Whether the user may send messages now, as far as it is known. */
  canWrite: boolean;
  /** When a muted user may send again, in Unix milliseconds. `undefined`: not muted. */
  mutedUntil: number | undefined;
  /** Whether the user may delete messages and mute users. */
  canModerate: boolean;
}

export interface RoomActions {
  /**
   * The message is in `pending` at once, and stays there until the server has stored it, over any number of reconnects.
   * The promise may be ignored: it resolves with the stored message, or rejects with a `SendError` that `pending` shows
   * as well. Only `empty`, `too-many`, `not-connected` and `read-only` mean that the message was not accepted.
   */
  send: (content: string) => Promise<ChatMessage>;
  /** Of a failed message. */
  retry: (clientId: string) => Promise<ChatMessage>;
  discard: (clientId: string) => void;
  /** Deletes a message of any user, for good. Only for moderators. Rejects with an `HttpError`. */
  deleteMessage: (id: string) => Promise<void>;
  /** Mutes a user for at most 30 days; 0 ends the mute. Only for moderators. Rejects with an `HttpError`. */
  mute: (userId: string, seconds: number) => Promise<void>;
  /** Call it on every keystroke: the others are notified at most every 2 s. */
  notifyTyping: () => void;
  /** Resolves with the number of older messages that were added. */
  loadOlder: () => Promise<number>;
  /** Connects now: it ends a wait, and tries again after a refusal. */
  reconnect: () => void;
}

const EVENTS = [
  "state",
  "messages",
  "pending",
  "stored",
  "resync",
  "typing",
  "permissions",
  "deleted",
  "muted",
] as const;
const EMPTY: readonly never[] = Object.freeze([]);

/**
 * @param roomId The name of the room, 1 to 128 bytes without a slash. `null` or `undefined`: no room yet. Components
 *   with the same room share one connection.
 * @throws {TypeError} The name is not valid for a room.
 */
export function useRoom(roomId: string | null | undefined, options: UseRoomOptions = {}): Room {
  const shared = useRefCountedChat(roomId);
  const chat = shared?.value;
  useChatEvents(chat, options);
  const shown = useEmitterState(chat, EVENTS, () => read(chat));
  const actions = useMemo(() => actionsOf(shared), [shared]);
  return useMemo(() => ({ ...shown, ...actions }), [shown, actions]);
}

/** The chat of `useRoom`, for components that need its events. It is open while the component is mounted. */
export function useChat(roomId: string | null | undefined): Chat | undefined {
  return useRefCountedChat(roomId)?.value;
}

function useRefCountedChat(roomId: string | null | undefined): RefCounted<Chat> | undefined {
  const connections = useConnections();
  return useRefCounted([connections, roomId], () => (roomId == null ? undefined : connections.chat(roomId)));
}

function useChatEvents(chat: Chat | undefined, options: UseRoomOptions): void {
  const latest = useLatest(options);
  useEffect(() => {
    const ends = [
      chat?.on("messages", ({ added, from }) => {
        if (from === "live") for (const message of added) latest.current.onMessage?.(message);
      }),
      chat?.on("joined", (user) => latest.current.onJoined?.(user)),
      chat?.on("left", (user) => latest.current.onLeft?.(user)),
      chat?.on("error", (error) => latest.current.onError?.(error)),
      chat?.on("resync", () => latest.current.onResync?.()),
    ];
    return () => ends.forEach((end) => end?.());
  }, [chat, latest]);
}

function read(chat: Chat | undefined): Omit<Room, keyof RoomActions> {
  const { state, retryAt, close, isUnshared = false } = chat?.snapshot ?? { state: "closed" as const };
  return {
    messages: chat?.messages ?? EMPTY,
    pending: chat?.pending ?? EMPTY,
    typingUsers: chat?.typing ?? EMPTY,
    state,
    isConnected: state === "open",
    transport: chat?.transport ?? "websocket",
    isUnshared,
    retryAt,
    close,
    hasHistory: chat?.hasHistory ?? false,
    hasOlder: chat?.hasOlder ?? false,
    userId: chat?.userId,
    permissions: chat?.permissions,
    canWrite: chat?.canWrite ?? true,
    mutedUntil: chat?.mutedUntil,
    canModerate: chat?.canModerate ?? false,
  };
}

function actionsOf(shared: RefCounted<Chat> | undefined): RoomActions {
  const chat = shared?.value;
  return {
    send: (content) => chat?.send(content) ?? rejectWithoutRoom(),
    retry: (clientId) => chat?.retry(clientId) ?? rejectWithoutRoom(),
    discard: (clientId) => chat?.discard(clientId),
    deleteMessage: (id) => chat?.deleteMessage(id) ?? rejectWithoutRoom(),
    mute: (userId, seconds) => chat?.mute(userId, seconds) ?? rejectWithoutRoom(),
    notifyTyping: () => chat?.notifyTyping(),
    loadOlder: () => chat?.loadOlder() ?? Promise.resolve(0),
    reconnect: () => {
      if (shared?.isOpen) chat?.reconnect();
    },
  };
}

function rejectWithoutRoom(): Promise<never> {
  const refused = Promise.reject(new SendError("not-connected", "there is no room yet"));
  refused.catch(() => {});
  return refused;
}
