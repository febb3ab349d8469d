/** Every text of `<ChatRoom>`, so that it can speak another language. */

import { CONNECTION_TEXTS, MUTE_CHOICES, type ConnectionStatus, mutedText, typingText } from "../src/view/words.js";

export interface ChatRoomLabels {
  /** For the names of days, such as `de`. `en` by default. */
  locale: string | undefined;
  today: string;
  yesterday: string;
  /** The text of the connection light. */
  connection: Readonly<Record<ConnectionStatus, string>>;
  tryNow: string;
  reconnect: string;
  seconds: (count: number) => string;
  /** The name of the list for screen readers. */
  messages: string;
  empty: string;
  connecting: string;
  disconnected: string;
  loadOlder: string;
  loading: string;
  olderLoaded: (count: number) => string;
  olderFailed: string;
  newMessages: (count: number) => string;
  jumpToLatest: string;
  resync: string;
  messageBy: (userName: string, content: string) => string;
  typing: (userNames: readonly string[]) => string;
  joined: (userName: string) => string;
  left: (userName: string) => string;
  you: string;
  sending: string;
  queued: string;
  notSent: (reason: string) => string;
  retry: string;
  stillNotSent: string;
  discard: string;
  message: string;
  placeholder: (title: string) => string;
  readOnly: string;
  /** In the place of the text field of a muted user. */
  mutedUntil: (until: number, locale: string | undefined) => string;
  /** In the place of a deleted message. */
  deleted: string;
  /** Announced when a message is deleted. */
  deletedBy: (userName: string) => string;
  delete: string;
  deleteMessageOf: (userName: string) => string;
  notDeleted: string;
  mute: string;
  muteUser: (userName: string) => string;
  muteChoices: readonly { seconds: number; text: string }[];
  mutedUser: (userName: string, seconds: number) => string;
  notMuted: string;
  send: string;
  unitsLeft: (count: number) => string;
  unitsOver: (count: number) => string;
  tooLong: (count: number) => string;
}

export const LABELS: Readonly<ChatRoomLabels> = Object.freeze({
  locale: "en",
  today: "Today",
  yesterday: "Yesterday",
  connection: CONNECTION_TEXTS,
  tryNow: "Try now",
  reconnect: "Reconnect",
  seconds: (count: number) => `${count} s`,
  messages: "Messages",
  empty: "Nobody has said anything yet.",
  connecting: "On the way to the room …",
  disconnected: "Not in the room.",
  loadOlder: "Load older messages",
  loading: "Loading…",
  olderLoaded: (count: number) => (count === 1 ? "1 older message" : `${count} older messages`),
  olderFailed: "The older messages could not be loaded",
  newMessages: (count: number) => (count === 1 ? "1 new message" : `${count} new messages`),
  jumpToLatest: "To the latest",
  resync: "Much was said while you were away. These are the latest messages.",
  messageBy: (userName: string, content: string) => `${userName}: ${content}`,
  typing: typingText,
  joined: (userName: string) => `${userName} came in`,
  left: (userName: string) => `${userName} left`,
  you: "You",
  sending: "Sending…",
  queued: "Kept until the room is back",
  notSent: (reason: string) => `Not sent: ${reason}`,
  retry: "Try again",
  stillNotSent: "Still not sent",
  discard: "Discard",
  message: "Message",
  placeholder: (title: string) => `Message ${title}`,
  readOnly: "You may read this room, and not write in it.",
  mutedUntil: mutedText,
  deleted: "Message deleted",
  deletedBy: (userName: string) => `A message of ${userName} was deleted`,
  delete: "Delete",
  deleteMessageOf: (userName: string) => `Delete the message of ${userName}`,
  notDeleted: "Not deleted",
  mute: "Mute",
  muteUser: (userName: string) => `Mute ${userName}`,
  muteChoices: MUTE_CHOICES,
  mutedUser: (userName: string, seconds: number) =>
    seconds === 0 ? `${userName} may send messages again` : `${userName} is muted`,
  notMuted: "Not muted",
  send: "Send",
  unitsLeft: (count: number) => `${count} left`,
  unitsOver: (count: number) => `${count} too many`,
  tooLong: (count: number) => `Not sent: ${count} characters too many`,
});
