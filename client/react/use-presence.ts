/** Who is here, as state. */

import { useMemo } from "react";
import type { Close, State, Status, Transport, UserPresence } from "../src/index.js";
import { useRefCounted, useEmitterState } from "./hooks.js";
import { useConnections } from "./provider.js";

export interface PresenceState {
  /** By name. While there is no connection: as last heard. */
  users: readonly UserPresence[];
  /** One's own. */
  status: Status;
  /** Said now, or as soon as there is a connection, and again until the server has acknowledged it. */
  setStatus: (status: Status) => void;
  state: State;
  isConnected: boolean;
  /** Over what it is connected, or was tried last: `events` where WebSockets are blocked. */
  transport: Transport;
  /** Over events only: this browser lets tabs share no stream, so each tab takes connections of its own. */
  isUnshared: boolean;
  close: Close | undefined;
  /** One's own user id, as far as it is known. */
  userId: string | undefined;
  /** Do not wait any longer, or come back after the server has said no. */
  reconnect: () => void;
}

const EVENTS = ["state", "users"] as const;
const GLOBAL = "global";

/**
 * @param scope Which presence room; `global` where nothing is said. Components that name the same one share a connection.
 * @throws {TypeError} No room can have this name.
 */
export function usePresence(scope: string = GLOBAL): PresenceState {
  const connections = useConnections();
  const shared = useRefCounted([connections, scope], () => connections.presence(scope));
  const presence = shared.value;
  const shown = useEmitterState(presence, EVENTS, () => {
    const { state, close, isUnshared = false } = presence.snapshot;
    return {
      users: presence.users,
      status: presence.status,
      state,
      isConnected: state === "open",
      transport: presence.transport,
      isUnshared,
      close,
      userId: presence.userId,
    };
  });
  const actions = useMemo(
    () => ({
      setStatus: (status: Status) => presence.setStatus(status),
      reconnect: () => {
        if (shared.isOpen) presence.reconnect();
      },
    }),
    [shared, presence],
  );
  return useMemo(() => ({ ...shown, ...actions }), [shown, actions]);
}
