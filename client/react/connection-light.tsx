/** The state of the connection as a light with text, and a button to connect at once. */

import { useEffect, useState } from "react";
import { canRetryNow, connectionStatusOf } from "../src/view/words.js";
import { useKeyed } from "./hooks.js";
import type { ChatRoomLabels } from "./labels.js";
import type { Room } from "./use-room.js";

export function ConnectionLight({ room, words }: { room: Room; words: ChatRoomLabels }) {
  const { retryAt, close, reconnect } = room;
  // Closed without a reason: the room was not opened yet, as before the first effect and in server-side rendering.
  const state = room.state === "closed" && !close ? "connecting" : room.state;
  const status = connectionStatusOf(close ? { state, close } : { state });
  const now = useNow(state === "waiting" ? retryAt : undefined);
  const isSlow = canRetryNow({ state, retryAt }, now);
  return (
    <div className="dormouse-light" data-state={state}>
      <span className="dormouse-lamp" aria-hidden="true" />
      <span role="status">{words.connection[status]}</span>
      {isSlow && retryAt !== undefined && (
        <span className="dormouse-countdown" aria-hidden="true">
          {words.seconds(Math.max(0, Math.ceil((retryAt - now) / 1000)))}
        </span>
      )}
      {isSlow && (
        <button type="button" className="dormouse-link" onClick={reconnect}>
          {state === "closed" ? words.reconnect : words.tryNow}
        </button>
      )}
    </div>
  );
}

/** The current time, updated when `due` changes and every second while it is set. */
function useNow(due: number | undefined): number {
  const began = useKeyed([due], () => Date.now());
  const [now, setNow] = useState(began);
  useEffect(() => {
    if (due === undefined) return undefined;
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, [due]);
  return Math.max(began, now);
}
