/**
 * A whole chat room: start reading here. The messages, the text field, the connection light, the activity line and the
 * announcements each have a file.
 *
 * Style it through the CSS variables at the top of `chat-room.css`.
 */

import { type ReactNode, useCallback, useEffect, useId, useMemo, useRef } from "react";
import type { Chat, SendError } from "../src/index.js";
import { Announcer, type AnnouncerHandle } from "./announcer.js";
import { Composer } from "./composer.js";
import { ConnectionLight } from "./connection-light.js";
import { LABELS, type ChatRoomLabels } from "./labels.js";
import { MessageList, type MessageListHandle } from "./message-list.js";
import { type Room, useChat, useRoom } from "./use-room.js";
import { ActivityLine } from "./activity-line.js";

export interface ChatRoomProps {
  /** The name of the room, 1 to 128 bytes without a slash. */
  roomId: string;
  /** The title above the room. Default: the room's name. */
  title?: string;
  /** The level of the title's heading in the outline of the page. Default: 2. */
  headingLevel?: 1 | 2 | 3 | 4 | 5 | 6;
  /** Puts the focus into the text field when the room is entered. */
  autoFocus?: boolean;
  /** Texts instead of the English ones. */
  labels?: Partial<ChatRoomLabels>;
  className?: string;
  /** Shown at the right of the header. */
  children?: ReactNode;
}

export function ChatRoom(props: ChatRoomProps) {
  // The key mounts a new component for another room, so no state of the last room stays.
  return <OneRoom key={props.roomId} {...props} />;
}

function OneRoom({
  roomId,
  title = roomId,
  headingLevel = 2,
  autoFocus = false,
  labels,
  className,
  children,
}: ChatRoomProps) {
  const chat = useChat(roomId);
  const room = useRoom(roomId);
  const words = useMemo(() => ({ ...LABELS, ...labels }), [labels]);
  const list = useRef<MessageListHandle>(null);
  const titleId = useId();
  const announcer = useRef<AnnouncerHandle>(null);
  const announce = useCallback((text: string) => announcer.current?.announce(text), []);
  useAnnouncements(chat, words, announce);

  const Heading = `h${headingLevel}` as const;

  /** Whether the message was accepted. An accepted message that fails later is shown in the list. */
  const send = async (text: string) => {
    list.current?.follow();
    try {
      await room.send(text);
      return true;
    } catch (error) {
      const { code, message } = error as SendError;
      if (code !== "too-many" && code !== "not-connected" && code !== "read-only") return true;
      announce(words.notSent(message));
      return false;
    }
  };

  return (
    <section className={className ? `dormouse-chat ${className}` : "dormouse-chat"} aria-labelledby={titleId}>
      <header className="dormouse-head">
        <Heading id={titleId} className="dormouse-title">
          {title}
        </Heading>
        <ConnectionLight room={room} words={words} />
        {children}
      </header>
      <MessageList handle={list} chat={chat} room={room} words={words} announce={announce} />
      <ActivityLine chat={chat} typingUsers={room.typingUsers} words={words} />
      <Composer
        send={send}
        typing={room.notifyTyping}
        announce={announce}
        title={title}
        words={words}
        autoFocus={autoFocus}
        refusal={refusalOf(room, words)}
      />
      <Announcer handle={announcer} />
    </section>
  );
}

/** Why the user may not write. */
function refusalOf({ mutedUntil, canWrite }: Room, words: ChatRoomLabels): string | undefined {
  if (mutedUntil !== undefined) return words.mutedUntil(mutedUntil, words.locale);
  return canWrite ? undefined : words.readOnly;
}

/** Announces messages of others, and what the server refuses. */
function useAnnouncements(chat: Chat | undefined, words: ChatRoomLabels, announce: (text: string) => void): void {
  useEffect(() => {
    const ends = [
      chat?.on("messages", ({ added, from }) => {
        if (from !== "live") return;
        const others = added.filter(({ userId }) => userId !== chat.userId);
        for (const { userName, content } of others) announce(words.messageBy(userName, content));
      }),
      chat?.on("error", ({ message, clientId }) => announce(clientId === undefined ? message : words.notSent(message))),
      chat?.on("resync", () => announce(words.resync)),
      chat?.on("deleted", ({ message }) => announce(words.deletedBy(message.userName))),
    ];
    return () => ends.forEach((end) => end?.());
  }, [chat, words, announce]);
}
