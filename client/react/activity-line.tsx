/** The line under the messages: who types, and else who has just come or gone. */

import { useEffect, useState } from "react";
import type { Chat, TypingUser } from "../src/index.js";
import type { ChatRoomLabels } from "./labels.js";

/** How long a coming or going is told, ms. */
const TOLD_MS = 4_000;

interface WhisperProps {
  chat: Chat | undefined;
  typingUsers: readonly TypingUser[];
  words: ChatRoomLabels;
}

export function Whisper({ chat, typingUsers, words }: WhisperProps) {
  const passage = usePassage(chat, words);
  const isTyping = typingUsers.length > 0;
  return (
    <p className="dormouse-whisper" data-typing={isTyping || undefined}>
      {isTyping ? words.typing(typingUsers.map(({ userName }) => userName)) : passage}
    </p>
  );
}

function usePassage(chat: Chat | undefined, words: ChatRoomLabels): string {
  // An object, so that the same words once more are told for their whole time.
  const [passage, setPassage] = useState<{ text: string }>();
  useEffect(() => {
    const ends = [
      chat?.on("joined", ({ userName }) => setPassage({ text: words.joined(userName) })),
      chat?.on("left", ({ userName }) => setPassage({ text: words.left(userName) })),
    ];
    return () => ends.forEach((end) => end?.());
  }, [chat, words]);
  useEffect(() => {
    if (!passage) return undefined;
    const timer = setTimeout(() => setPassage(undefined), TOLD_MS);
    return () => clearTimeout(timer);
  }, [passage]);
  return passage?.text ?? "";
}
