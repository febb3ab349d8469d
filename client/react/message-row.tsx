/** One message. Text of users enters the document only as text. */

import { memo, useRef } from "react";
import type { ChatMessage, PendingMessage } from "../src/index.js";
import { timeOf } from "../src/view/days.js";
import type { MessageLine } from "../src/view/lines.js";
import { withLinks } from "../src/view/links.js";
import { type Palette, initialOf } from "../src/view/people.js";
import type { ChatRoomLabels } from "./labels.js";

interface MessageRowProps {
  message: MessageLine["message"];
  pending: PendingMessage | undefined;
  isOwn: boolean;
  opensGroup: boolean;
  words: ChatRoomLabels;
  palette: Palette;
  retry: (clientId: string) => Promise<ChatMessage>;
  discard: (clientId: string) => void;
  canModerate: boolean;
  deleteMessage: (id: string) => Promise<void>;
  mute: (userId: string, seconds: number) => Promise<void>;
  announce: (text: string) => void;
}

/** Memoised, so that a row renders only when its own props change: a list of thousands stays fast. */
export const MessageRow = memo(function MessageRow(props: MessageRowProps) {
  const { message, pending, isOwn, opensGroup, words, palette, canModerate } = props;
  const hue = palette.hueOf(message.userId);
  const sentAt = new Date(message.timestamp);
  return (
    <div
      className="dormouse-message"
      role="listitem"
      data-own={isOwn || undefined}
      data-opens={opensGroup || undefined}
      data-state={pending && stateOf(pending)}
    >
      <span className="dormouse-avatar" data-hue={hue} aria-hidden="true">
        {initialOf(message.userName)}
      </span>
      <p className="dormouse-by">
        <bdi className="dormouse-name" data-hue={hue}>
          {message.userName}
        </bdi>{" "}
        <time dateTime={sentAt.toISOString()} title={sentAt.toLocaleString(words.locale)}>
          {timeOf(message.timestamp)}
        </time>
      </p>
      {message.deleted ? (
        <p className="dormouse-bubble dormouse-deleted">{words.deleted}</p>
      ) : (
        <p className="dormouse-bubble" dir="auto">
          {withLinks(message.content).map(({ text, href }, index) =>
            href === undefined ? (
              text
            ) : (
              <a key={index} href={href} target="_blank" rel="noopener noreferrer nofollow">
                {text}
              </a>
            ),
          )}
        </p>
      )}
      {canModerate && !pending && <Moderation {...props} />}
      {pending && <DeliveryState {...props} pending={pending} />}
    </div>
  );
});

/** The tools of a moderator. The user's own message has no mute. */
function Moderation({ message, isOwn, words, deleteMessage, mute, announce }: MessageRowProps) {
  const row = useRef<HTMLDivElement>(null);
  const choices = useRef<HTMLDetailsElement>(null);
  const { id, userId, userName, deleted } = message;
  const canDelete = id !== undefined && !deleted;
  const remove = async (id: string) => {
    // The button goes, and the focus must not go with it.
    row.current?.focus({ preventScroll: true });
    await deleteMessage(id).catch(() => announce(words.notDeleted));
  };
  const choose = async (seconds: number) => {
    if (choices.current) choices.current.open = false;
    choices.current?.querySelector("summary")?.focus({ preventScroll: true });
    await mute(userId, seconds).then(
      () => announce(words.mutedUser(userName, seconds)),
      () => announce(words.notMuted),
    );
  };
  return (
    <div ref={row} className="dormouse-moderation" tabIndex={-1}>
      {canDelete && (
        <button
          type="button"
          className="dormouse-link"
          aria-label={words.deleteMessageOf(userName)}
          onClick={() => remove(id)}
        >
          {words.delete}
        </button>
      )}
      {!isOwn && (
        <details ref={choices}>
          <summary className="dormouse-link" aria-label={words.muteUser(userName)}>
            {words.mute}
          </summary>
          {words.muteChoices.map(({ seconds, text }) => (
            <button key={seconds} type="button" className="dormouse-link" onClick={() => choose(seconds)}>
              {text}
            </button>
          ))}
        </details>
      )}
    </div>
  );
}

/** The delivery state of the user's own message. */
function DeliveryState({ pending, words, retry, discard, announce }: MessageRowProps & { pending: PendingMessage }) {
  const state = stateOf(pending);
  if (state !== "failed")
    return <p className="dormouse-delivery">{state === "sending" ? words.sending : words.queued}</p>;
  return (
    <p className="dormouse-delivery">
      {words.notSent(pending.error?.message ?? "")}{" "}
      <button
        type="button"
        className="dormouse-link"
        onClick={() => retry(pending.clientId).catch(() => announce(words.stillNotSent))}
      >
        {words.retry}
      </button>{" "}
      <button type="button" className="dormouse-link" onClick={() => discard(pending.clientId)}>
        {words.discard}
      </button>
    </p>
  );
}

function stateOf({ state, sentAt }: PendingMessage): "failed" | "sending" | "queued" {
  if (state === "failed") return "failed";
  return sentAt === undefined ? "queued" : "sending";
}
