/** Where the rooms are, and who asks: said once, for all components below. */

import { type ReactNode, createContext, useContext } from "react";
import type { CredentialsRequest, Credentials, Timing, TransportChoice } from "../src/index.js";
import { Connections, type ConnectionsOptions } from "./connections.js";
import { useKeyed, useLatest } from "./hooks.js";

const BASE_URL = "/api/realtime";

export interface DormouseProviderProps {
  /** Such as `/api/realtime`, which it is where nothing is said, or absolute for another origin. Another one reconnects. */
  baseUrl?: string;
  /**
   * Asked before each attempt to connect, and once more, with `refused`, when the server turned the last answer down.
   * While connected by a token that will expire, it is asked with `expiring`, and a new token takes its place. May be an inline function: a new one does not reconnect. Without it the browser's cookie says who asks.
   */
  credentials?: (asked: CredentialsRequest) => Promise<Credentials> | Credentials;
  /**
   * One's own user id. Needed only where the credentials do not tell it (a cookie, a ticket), so that one's own messages
   * are known as such. Another one reconnects.
   */
  userId?: string;
  /**
   * `auto`, where nothing is said: a WebSocket, and where those are blocked an event stream with a POST for each message.
   * `websocket` or `events`: only that. Another one reconnects.
   */
  transport?: TransportChoice;
  /** Other times than the usual ones; read once, so it may be an inline object. */
  timing?: Partial<Timing>;
  children?: ReactNode;
}

/** Without a provider: this page's origin, and the cookie. */
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
