/** The line under the messages: the users who are typing, or else the user who has just joined or left. */

import { useEffect, useState } from "react";
import type { Chat, TypingUser } from "../src/index.js";
import type { ChatRoomLabels } from "./labels.js";

/** How long it shows that a user joined or left, ms. */
const SHOWN_MS = 4_000;

interface ActivityLineProps {
  chat: Chat | undefined;
  typingUsers: readonly TypingUser[];
  words: ChatRoomLabels;
}

export function ActivityLine({ chat, typingUsers, words }: ActivityLineProps) {
  const joinLeave = useJoinLeaveText(chat, words);
  const isTyping = typingUsers.length > 0;
  return (
    <p className="dormouse-activity" data-typing={isTyping || undefined}>
      {isTyping ? words.typing(typingUsers.map(({ userName }) => userName)) : joinLeave}
    </p>
  );
}

function useJoinLeaveText(chat: Chat | undefined, words: ChatRoomLabels): string {
  // An object, so that the same text a second time restarts the timer.
  const [joinLeave, setJoinLeave] = useState<{ text: string }>();
  useEffect(() => {
    const ends = [
      chat?.on("joined", ({ userName }) => setJoinLeave({ text: words.joined(userName) })),
      chat?.on("left", ({ userName }) => setJoinLeave({ text: words.left(userName) })),
    ];
    return () => ends.forEach((end) => end?.());
  }, [chat, words]);
  useEffect(() => {
    if (!joinLeave) return undefined;
    const timer = setTimeout(() => setJoinLeave(undefined), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [joinLeave]);
  return joinLeave?.text ?? "";
}
