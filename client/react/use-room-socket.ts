/** The socket of a room in any namespace, with typed messages, for your own protocol. */

import type { CallOptions, CallTypes, Close } from "../src/index.js";
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

export interface RoomSocketResult<Outgoing, Calls extends CallTypes = CallTypes> extends Omit<
  UseWebSocketResult,
  "send" | "call"
> {
  /** Like `send` of `useWebSocket`. */
  send: (message: Outgoing) => "sent" | "queued" | "rejected";
  /**
   * Calls the room, and resolves with its answer. A call that gets none when the connection ends is sent again on the
   * next one, and a room of `@dormouse/room` runs it once. Rejects with a `CallError`, whose `code` is that of the
   * room's `ClientError`. Unmounting ends the wait.
   */
  call: <Name extends keyof Calls & string>(
    name: Name,
    ...rest: CallArguments<Parameters<Calls[Name]>[0]>
  ) => Promise<Awaited<ReturnType<Calls[Name]>>>;
}

/** The arguments may be left out if all of them may. */
type CallArguments<Args> = {} extends Args ? [args?: Args, options?: CallOptions] : [args: Args, options?: CallOptions];

/**
 * The room `name` of a namespace. It uses the server and the credentials of the `DormouseProvider` above. The third type
 * has the calls of the room: `CallsOf<Board>` of `@dormouse/room` makes them of its class.
 *
 * @throws {TypeError} The name is not valid for a room.
 */
export function useRoomSocket<Incoming = unknown, Outgoing = unknown, Calls extends CallTypes = CallTypes>(
  options: UseRoomSocketOptions<Incoming>,
): RoomSocketResult<Outgoing, Calls> {
  const { namespace, name, ...rest } = options;
  const connections = useConnections();
  const used = useWebSocket({ ...rest, url: name == null ? undefined : connections.socketUrl(namespace, name) });
  return used as UseWebSocketResult & RoomSocketResult<Outgoing, Calls>;
}
