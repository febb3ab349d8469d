/** Gives the server and the credentials to all components below. */

import { type ReactNode, createContext, useContext } from "react";
import type { CredentialsRequest, Credentials, Timing, TransportChoice } from "../src/index.js";
import { Connections, type ConnectionsOptions } from "./connections.js";
import { useKeyed, useLatest } from "./hooks.js";

const BASE_URL = "/api/realtime";

export interface DormouseProviderProps {
  /** Absolute for another origin. Default: `/api/realtime`. A change reconnects. */
  baseUrl?: string;
  /**
   * Called before each attempt to connect, and once more with `refused` if the server refused the last credentials.
   * Called with `expiring` when the token of an open connection is about to expire: a new token replaces it. It may be
   * an inline function: a new one does not reconnect. Without it the browser's cookie is used.
   */
  credentials?: (asked: CredentialsRequest) => Promise<Credentials> | Credentials;
  /**
   * The user's own id. Needed only if the credentials do not contain it (a cookie, a ticket), to recognise the user's
   * own messages. A change reconnects.
   */
  userId?: string;
  /**
   * Default `auto`: a WebSocket, or an event stream with a POST for each message where WebSockets are blocked.
   * `websocket` or `events`: only that. A change reconnects.
   */
  transport?: TransportChoice;
  /** Changes to the default times. Read once, so it may be an inline object. */
  timing?: Partial<Timing>;
  children?: ReactNode;
}

/** Used without a provider: the page's own origin and its cookie. */
const ConnectionsContext = createContext(new Connections({ baseUrl: BASE_URL }));

export function DormouseProvider(props: DormouseProviderProps) {
  const { baseUrl = BASE_URL, credentials, userId, transport, timing, children } = props;
  const latest = useLatest(credentials);
  const connections = useKeyed([baseUrl, userId, transport, credentials === undefined], () => {
    const ask: ConnectionsOptions["credentials"] = credentials && ((asked) => latest.current?.(asked));
    return new Connections({ baseUrl, credentials: ask, userId, transport, timing });
  });
  return <ConnectionsContext.Provider value={connections}>{children}</ConnectionsContext.Provider>;
}

export function useConnections(): Connections {
  return useContext(ConnectionsContext);
}
