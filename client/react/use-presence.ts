/** The users who are present, as state. */

import { useMemo } from "react";
import type { Close, Permissions, State, Status, Transport, UserPresence } from "../src/index.js";
import { useRefCounted, useEmitterState } from "./hooks.js";
import { useConnections } from "./provider.js";

export interface PresenceState {
  /** Sorted by name. Without a connection it is the last known list. */
  users: readonly UserPresence[];
  /** Whether these are all users. A long list is loaded page by page. */
  isWhole: boolean;
  /** The user's own status. */
  status: Status;
  /** Sent now or when there is a connection, and again until the server has acknowledged it. */
  setStatus: (status: Status) => void;
  state: State;
  isConnected: boolean;
  /** The transport of this connection or of the last attempt: `events` where WebSockets are blocked. */
  transport: Transport;
  /** Over events only. True: tabs of this browser cannot share a stream, so each tab uses its own connections. */
  isUnshared: boolean;
  close: Close | undefined;
  /** The user's own id, if it is known. */
  userId: string | undefined;
  /** What the user may do. `undefined`: the server asks for no grants. Without `presence` the user is not listed. */
  permissions: Permissions;
  /** Connects now: it ends a wait, and tries again after a refusal. */
  reconnect: () => void;
}

const EVENTS = ["state", "users"] as const;
const GLOBAL = "global";

/**
 * @param scope The presence room. Default: `global`. Components with the same scope share a connection.
 * @throws {TypeError} The name is not valid for a room.
 */
export function usePresence(scope: string = GLOBAL): PresenceState {
  const connections = useConnections();
  const shared = useRefCounted([connections, scope], () => connections.presence(scope));
  const presence = shared.value;
  const shown = useEmitterState(presence, EVENTS, () => {
    const { state, close, isUnshared = false } = presence.snapshot;
    return {
      users: presence.users,
      isWhole: presence.isWhole,
      status: presence.status,
      state,
      isConnected: state === "open",
      transport: presence.transport,
      isUnshared,
      close,
      userId: presence.userId,
      permissions: presence.permissions,
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
