/** A chat room as state: its messages, one's own that are on the way, and who types. */

import { useEffect, useMemo } from "react";
import {
  type Chat,
  type ChatMessage,
  type Close,
  type ErrorFrame,
  type PendingMessage,
  SendError,
  type State,
  type Transport,
  type TypingUser,
} from "../src/index.js";
import type { RefCounted } from "./ref-counted.js";
import { useRefCounted, useLatest, useEmitterState } from "./hooks.js";
import { useConnections } from "./provider.js";

export interface UseRoomOptions {
  /** A message of anybody's, one's own included, while the page is connected. Not what the history brings. */
  onMessage?: (message: ChatMessage) => void;
  onJoined?: (user: TypingUser) => void;
  onLeft?: (user: TypingUser) => void;
  /** The server refused something that we said. */
  onError?: (error: ErrorFrame) => void;
  /** More was missed than the server could show: `messages` began anew with the latest ones. */
  onResync?: () => void;
}

export interface Room extends RoomActions {
  /** Oldest first, each once, without a gap. */
  messages: readonly ChatMessage[];
  /** One's own messages that are not stored yet, in the order of writing. They belong below `messages`. */
  pending: readonly PendingMessage[];
  /** Who types, oneself excepted. */
  typingUsers: readonly TypingUser[];
  state: State;
  isConnected: boolean;
  /** Over what it is connected, or was tried last: `events` where WebSockets are blocked. */
  transport: Transport;
  /** Over events only: this browser lets tabs share no stream, so each tab takes connections of its own. */
  isUnshared: boolean;
  /** While waiting: when the next attempt is due, in Unix milliseconds. */
  retryAt: number | undefined;
  /** While waiting or closed: what ended the last connection. */
  close: Close | undefined;
  /** Whether a first history has come: until then an empty list says nothing about the room. */
  hasHistory: boolean;
  /** Whether `loadOlder` may find something. */
  hasOlder: boolean;
  /** One's own user id, as far as it is known. */
  userId: string | undefined;
}

export interface RoomActions {
  /**
   * Shown among `pending` at once, and kept there until the server has stored it, over any number of reconnects.
   * The promise need not be looked at: it is kept with the stored message, or broken with a `SendError`, which
   * `pending` shows as well. Only `empty`, `too-many` and `not-connected` say that the message was not taken.
   */
  send: (content: string) => Promise<ChatMessage>;
  /** Of a failed message. */
  retry: (clientId: string) => Promise<ChatMessage>;
  discard: (clientId: string) => void;
  /** Call it on every keystroke; the others are told now and then. */
  notifyTyping: () => void;
  /** How many older messages were found. */
  loadOlder: () => Promise<number>;
  /** Do not wait any longer, or come back after the server has said no. */
  reconnect: () => void;
}

const EVENTS = ["state", "messages", "pending", "stored", "resync", "typing"] as const;
const EMPTY: readonly never[] = Object.freeze([]);

/**
 * @param roomId The name of the room, 1 to 128 bytes without a slash; nothing at all: no room yet. Components that name
 *   the same room share one connection.
 * @throws {TypeError} No room can have this name.
 */
export function useRoom(roomId: string | null | undefined, options: UseRoomOptions = {}): Room {
  const shared = useRefCountedChat(roomId);
  const chat = shared?.value;
  useChatEvents(chat, options);
  const shown = useEmitterState(chat, EVENTS, () => read(chat));
  const actions = useMemo(() => actionsOf(shared), [shared]);
  return useMemo(() => ({ ...shown, ...actions }), [shown, actions]);
}

/** The chat behind `useRoom`, for components that need its events. It is open while the component is mounted. */
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
  };
}

function actionsOf(shared: RefCounted<Chat> | undefined): RoomActions {
  const chat = shared?.value;
  return {
    send: (content) => chat?.send(content) ?? rejectWithoutRoom(),
    retry: (clientId) => chat?.retry(clientId) ?? rejectWithoutRoom(),
    discard: (clientId) => chat?.discard(clientId),
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
