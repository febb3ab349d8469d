/** The socket of a room in any namespace, with typed messages, for your own protocol. */

import type { Close } from "../src/index.js";
import { useConnections } from "./provider.js";
import { type UseWebSocketResult, useWebSocket } from "./use-web-socket.js";

export interface UseRoomSocketOptions<Incoming> {
  /** As in the server's configuration, such as `POLLS`, or as in the path: `polls`. */
  namespace: string;
  /** 1 to 128 bytes without a slash. A change reconnects. `null` or `undefined`: no connection. */
  name: string | null | undefined;
  /** Receives parsed JSON. It is not checked to be an `Incoming`. */
  onMessage?: (message: Incoming) => void;
  onOpen?: () => void;
  /** Called after every connection and every failed attempt. Not after unmounting. */
  onClose?: (close: Close) => void;
  /** Called before `onClose` if the connection was lost or never opened, and when the server has given a reason. */
  onError?: (error: Error) => void;
  /** False: a lost connection is not opened again. Default: true. */
  reconnect?: boolean;
}

export interface RoomSocketResult<Outgoing> extends Omit<UseWebSocketResult, "send"> {
  /** Like `send` of `useWebSocket`. */
  send: (message: Outgoing) => "sent" | "queued" | "rejected";
}

/**
 * The room `name` of a namespace. It uses the server and the credentials of the `DormouseProvider` above.
 *
 * @throws {TypeError} The name is not valid for a room.
 */
export function useRoomSocket<Incoming = unknown, Outgoing = unknown>(
  options: UseRoomSocketOptions<Incoming>,
): RoomSocketResult<Outgoing> {
  const { namespace, name, ...rest } = options;
  const connections = useConnections();
  return useWebSocket({ ...rest, url: name == null ? undefined : connections.socketUrl(namespace, name) });
}
