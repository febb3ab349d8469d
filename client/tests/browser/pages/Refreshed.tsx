import { ChatRoom, DormouseProvider } from "@dormouse/client/react";
import "@dormouse/client/chat-room.css";

declare global {
  /** The test issues the tokens. */
  function freshToken(refused: boolean, expiring: boolean): Promise<string>;
}

/** A room whose tokens expire. */
export function Refreshed() {
  return (
    <DormouseProvider
      credentials={async ({ refused, expiring = false }) => ({ token: await freshToken(refused, expiring) })}
    >
      <ChatRoom roomId="lobby" headingLevel={1} />
    </DormouseProvider>
  );
}
