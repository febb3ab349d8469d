/** The bare socket of a room in any namespace, with typed messages: for a protocol of your own. */

import type { Close } from "../src/index.js";
import { useConnections } from "./provider.js";
import { type UseWebSocketResult, useWebSocket } from "./use-web-socket.js";

export interface UseRoomSocketOptions<Incoming> {
  /** As the server's configuration names it, such as `POLLS`, or as the path spells it: `polls`. */
  namespace: string;
  /** 1 to 128 bytes without a slash. Another one reconnects; nothing at all: no connection. */
  name: string | null | undefined;
  /** JSON is parsed, and believed to be a `Incoming`: a room of your own says what you wrote. */
  onMessage?: (message: Incoming) => void;
  onOpen?: () => void;
  /** After every connection, and after every attempt that failed. Not after unmounting. */
  onClose?: (close: Close) => void;
  /** Before `onClose`, where the connection was lost or never came to be; and when the server has said why. */
  onError?: (error: Error) => void;
  /** False: a connection that is lost is not tried again. True where nothing is said. */
  reconnect?: boolean;
}

export interface RoomSocketResult<Outgoing> extends Omit<UseWebSocketResult, "send"> {
  /** As `send` of `useWebSocket`. */
  send: (message: Outgoing) => "sent" | "queued" | "rejected";
}

/**
 * The room `name` of a namespace, on the server and with the credentials of the `DormouseProvider` above.
 *
 * @throws {TypeError} No room can have this name.
 */
export function useRoomSocket<Incoming = unknown, Outgoing = unknown>(
  options: UseRoomSocketOptions<Incoming>,
): RoomSocketResult<Outgoing> {
  const { namespace, name, ...rest } = options;
  const connections = useConnections();
  return useWebSocket({ ...rest, url: name == null ? undefined : connections.socketUrl(namespace, name) });
}
