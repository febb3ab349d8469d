/** One message. Text of users enters the document only as text. */

import { memo } from "react";
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
  announce: (text: string) => void;
}

/** Memoised, so that a row renders only when its own props change: a list of thousands stays fast. */
export const MessageRow = memo(function MessageRow(props: MessageRowProps) {
  const { message, pending, isOwn, opensGroup, words, palette } = props;
  const hue = palette.hueOf(message.userId);
  const said = new Date(message.timestamp);
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
        <time dateTime={said.toISOString()} title={said.toLocaleString(words.locale)}>
          {timeOf(message.timestamp)}
        </time>
      </p>
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
      {pending && <DeliveryState {...props} pending={pending} />}
    </div>
  );
});

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
