/** The list of messages and its scroll position: at the newest message until the reader scrolls up. */

import { type Ref, memo, useEffect, useImperativeHandle, useLayoutEffect, useMemo, useRef, useState } from "react";
import type { Chat, ChatMessage } from "../src/index.js";
import { dayName } from "../src/view/days.js";
import { type Line, areSameLines, blocksOf, linesOf } from "../src/view/lines.js";
import { Palette } from "../src/view/people.js";
import { ScrollKeeper } from "../src/view/scroll-keeper.js";
import { useLatest } from "./hooks.js";
import type { ChatRoomLabels } from "./labels.js";
import { MessageRow } from "./message-row.js";
import type { Room } from "./use-room.js";

export interface MessageListHandle {
  /** Scrolls to the end, because the user has sent a message. */
  follow: () => void;
}

interface MessageListProps {
  handle: Ref<MessageListHandle>;
  chat: Chat | undefined;
  room: Room;
  words: ChatRoomLabels;
  announce: (text: string) => void;
}

export const MessageList = memo(function MessageList({ handle, chat, room, words, announce }: MessageListProps) {
  const { messages, pending, userId, hasHistory, hasOlder, state, close } = room;
  const scroller = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const clientIdByMessageId = useClientIdByMessageId(chat);
  const { keeper, follows, unread } = useReading(chat, scroller, list);
  const [isLoading, setLoading] = useState(false);
  const [palette] = useState(() => new Palette());

  const lines = useMemo(
    () => linesOf({ messages, pending }, { userId, userName: words.you }, clientIdByMessageId),
    [messages, pending, userId, words, clientIdByMessageId],
  );
  useLayoutEffect(() => keeper.current?.settle(), [lines, hasOlder, keeper]);
  useImperativeHandle(handle, () => ({ follow: () => keeper.current?.toEnd() }), [keeper]);
  const today = useToday();

  const loadOlder = async () => {
    if (isLoading) return;
    setLoading(true);
    try {
      announce(words.olderLoaded(await room.loadOlder()));
    } catch {
      announce(words.olderFailed);
    } finally {
      setLoading(false);
    }
  };

  return (
    <div className="dormouse-stage">
      <div ref={scroller} className="dormouse-scroller" tabIndex={0} role="region" aria-label={words.messages}>
        {hasOlder && (
          <OlderButton load={loadOlder} goneWithFocus={() => scroller.current?.focus({ preventScroll: true })}>
            {isLoading ? words.loading : words.loadOlder}
          </OlderButton>
        )}
        {lines.length === 0 && (
          <p className="dormouse-empty">
            {hasHistory ? words.empty : state === "closed" && close ? words.disconnected : words.connecting}
          </p>
        )}
        <div ref={list} className="dormouse-messages" role="list">
          {blocksOf(lines).map(({ key, lines }) => (
            <Block
              key={key}
              lines={lines}
              today={today}
              words={words}
              palette={palette}
              retry={room.retry}
              discard={room.discard}
              canModerate={room.canModerate}
              deleteMessage={room.deleteMessage}
              mute={room.mute}
              announce={announce}
            />
          ))}
        </div>
      </div>
      {!follows && (
        <button type="button" className="dormouse-newer" data-unread={unread} onClick={() => keeper.current?.toEnd()}>
          {unread === 0 ? words.jumpToLatest : words.newMessages(unread)}
        </button>
      )}
    </div>
  );
});

interface BlockProps {
  lines: readonly Line[];
  today: number;
  words: ChatRoomLabels;
  palette: Palette;
  retry: (clientId: string) => Promise<ChatMessage>;
  discard: (clientId: string) => void;
  canModerate: boolean;
  deleteMessage: (id: string) => Promise<void>;
  mute: (userId: string, seconds: number) => Promise<void>;
  announce: (text: string) => void;
}

/**
 * Lines that are rendered or skipped together: the cost of a long list is the number of its blocks, not of its rows.
 */
const Block = memo(
  function Block({ lines, today, words, ...does }: BlockProps) {
    return (
      <div className="dormouse-block" role="presentation">
        {lines.map((line) =>
          line.kind === "day" ? (
            <div key={line.key} className="dormouse-day" role="listitem">
              <span>{dayName(line.day, today, words)}</span>
            </div>
          ) : (
            <MessageRow
              key={line.key}
              message={line.message}
              pending={line.pending}
              isOwn={line.isOwn}
              opensGroup={line.opensGroup}
              words={words}
              {...does}
            />
          ),
        )}
      </div>
    );
  },
  ({ lines: before, ...others }, { lines: after, ...newOthers }) =>
    areSameLines(before, after) &&
    Object.entries(others).every(([name, value]) => Object.is(value, newOthers[name as keyof typeof newOthers])),
);

interface OlderButtonProps {
  load: () => void;
  goneWithFocus: () => void;
  children: string;
}

/** The button moves the focus before it is removed: otherwise the page would scroll to the top. */
function OlderButton({ load, goneWithFocus, children }: OlderButtonProps) {
  const button = useRef<HTMLButtonElement>(null);
  const latest = useLatest(goneWithFocus);
  useLayoutEffect(() => {
    const shown = button.current;
    return () => {
      if (document.activeElement === shown) latest.current();
    };
  }, [latest]);
  // Not disabled while it loads: that would remove the focus as well.
  return (
    <button ref={button} type="button" className="dormouse-older" onClick={load}>
      {children}
    </button>
  );
}

/** For the user's own messages: the `clientId` under which each was pending here, by message id. */
function useClientIdByMessageId(chat: Chat | undefined): ReadonlyMap<string, string> {
  const [clientIdByMessageId] = useState(() => new Map<string, string>());
  useEffect(
    () => chat?.on("stored", ({ clientId, message }) => void clientIdByMessageId.set(message.id, clientId)),
    [chat, clientIdByMessageId],
  );
  return clientIdByMessageId;
}

/** Whether the reader is at the end, and how many messages they have not seen. */
function useReading(
  chat: Chat | undefined,
  scroller: { readonly current: HTMLElement | null },
  list: { readonly current: HTMLElement | null },
) {
  const keeper = useRef<ScrollKeeper>(undefined);
  const [follows, setFollows] = useState(true);
  const [unread, setUnread] = useState(0);

  useLayoutEffect(() => {
    if (!scroller.current || !list.current) return undefined;
    const leaving = new AbortController();
    const kept = new ScrollKeeper(scroller.current, list.current, leaving.signal, () => {
      setFollows(kept.follows);
      if (kept.follows) setUnread(0);
    });
    keeper.current = kept;
    kept.toEnd();
    return () => leaving.abort();
  }, [scroller, list]);

  useEffect(() => {
    const ends = [
      chat?.on("messages", ({ added, from }) => {
        if (from === "older") return keeper.current?.pin(list.current?.querySelector(".dormouse-bubble"));
        const others = added.filter(({ userId }) => userId !== chat.userId).length;
        if (others > 0 && keeper.current?.follows === false) setUnread((count) => count + others);
      }),
      chat?.on("resync", () => {
        setUnread(0);
        keeper.current?.toEnd();
      }),
    ];
    return () => ends.forEach((end) => end?.());
  }, [chat, list]);

  return { keeper, follows, unread };
}

/** The start of the current day. It changes at midnight while the page is open. */
function useToday(): number {
  const [today, setToday] = useState(() => new Date().setHours(0, 0, 0, 0));
  useEffect(() => {
    const look = () => setToday(new Date().setHours(0, 0, 0, 0));
    document.addEventListener("visibilitychange", look);
    const timer = setInterval(look, 60_000);
    return () => {
      document.removeEventListener("visibilitychange", look);
      clearInterval(timer);
    };
  }, []);
  return today;
}
