/** One WebSocket for one component, in the shape that many know; what keeps it alive is `RoomSocket`. */

import { useEffect, useMemo } from "react";
import {
  type CredentialsRequest,
  type Close,
  CloseCode,
  type Credentials,
  type Data,
  RoomSocket,
  type State,
  type StateEvent,
} from "../src/index.js";
import { RefCounted } from "./ref-counted.js";
import { useKeyed, useLatest, useEmitterState } from "./hooks.js";
import { useConnections } from "./provider.js";

export interface UseWebSocketOptions {
  /** `ws`, `wss`, `http` and `https` all do, and so does a path. Another one reconnects; nothing at all: no connection. */
  url: string | URL | null | undefined;
  /** JSON is parsed. Other text, and an `ArrayBuffer`, come as they are. */
  onMessage?: (data: any) => void;
  onOpen?: () => void;
  /** After every connection, and after every attempt that failed. Not after unmounting. */
  onClose?: (close: Close) => void;
  /** Before `onClose`, where the connection was lost or never came to be. */
  onError?: (error: Error) => void;
  /** False: a connection that is lost is not tried again. True where nothing is said. */
  reconnect?: boolean;
  /** The longest first wait, ms; each failure doubles it, up to 30 s, and chance picks a part of it. 500 where nothing is said. */
  reconnectInterval?: number;
  /**
   * Asked before each attempt, and with `expiring` while connected by a token that will expire. A token travels as a
   * subprotocol, never in the URL. Where nothing is said, those of the `DormouseProvider` above, as long as the address is
   * one of the server that the provider names.
   */
  credentials?: (asked: CredentialsRequest) => Promise<Credentials> | Credentials;
  /**
   * False for a server that is no Dormouse: it is never asked `{"type":"ping"}`, nor told a new token, nor asked over HTTP
   * why it refuses. True where nothing is said.
   */
  probe?: boolean;
}

export interface UseWebSocketResult {
  isConnected: boolean;
  state: State;
  /**
   * While waiting or closed: what ended the last connection. `reason` says why it does not connect, such as
   * `HTTP 404; there is nothing at this path`, where the server tells.
   */
  close: Close | undefined;
  /**
   * Text and an `ArrayBuffer` are sent as they are, everything else as JSON. While there is no connection up to 100 wait
   * for one. Never throws: `rejected` says that nothing was kept.
   */
  send: (data: unknown) => "sent" | "queued" | "rejected";
  /** Close for good, until `connect`. What waits to be sent is dropped. */
  disconnect: () => void;
  connect: () => void;
}

const STATE = ["state"] as const;

export function useWebSocket(options: UseWebSocketOptions): UseWebSocketResult {
  const { url, reconnect = true, reconnectInterval, probe = true } = options;
  const latest = useLatest(options);
  const address = url == null ? undefined : String(url);

  const connections = useConnections();
  const isOwn = options.credentials !== undefined;
  const provided = !isOwn && connections.hasCredentials ? connections : undefined;

  const shared = useKeyed([address, reconnect, reconnectInterval, probe, isOwn, connections], () => {
    if (address === undefined) return undefined;
    const ask = (asked: CredentialsRequest) =>
      isOwn ? latest.current.credentials?.(asked) : provided?.credentialsFor(address, asked);
    return new RefCounted(
      new RoomSocket({
        url: address,
        reconnect,
        probe,
        renew: probe,
        ...(reconnectInterval !== undefined && { timing: { firstBackoffMs: reconnectInterval } }),
        ...((isOwn || provided) && { credentials: ask }),
        ...(probe && { explain: (credentials: Credentials) => connections.explain(address, credentials) }),
      }),
    );
  });

  useEffect(() => {
    if (!shared) return undefined;
    const socket = shared.value;
    const ends = [
      socket.on("message", (data) => latest.current.onMessage?.(parse(data))),
      socket.on("state", (event) => notify(event, latest.current)),
    ];
    const release = shared.acquire();
    return () => {
      for (const end of ends) end();
      release();
    };
  }, [shared, latest]);

  const { state, close } = useEmitterState(shared?.value, STATE, () => {
    const { state, close } = shared?.value.snapshot ?? { state: "closed" as const, close: undefined };
    return { state, close };
  });
  const actions = useMemo(
    () => ({
      send: (data: unknown) => {
        const encoded = encode(data);
        return (encoded === undefined ? undefined : shared?.value.send(encoded)) ?? ("rejected" as const);
      },
      disconnect: () => shared?.value.close(),
      connect: () => {
        if (shared?.isOpen) shared.value.open();
      },
    }),
    [shared],
  );
  return { isConnected: state === "open", state, close, ...actions };
}

function notify({ state, previous, close }: StateEvent, { onOpen, onClose, onError }: UseWebSocketOptions): void {
  if (state === "open") return onOpen?.();
  const hasFailed = close !== undefined && (previous !== "open" || close.code === CloseCode.lost);
  if (hasFailed) onError?.(new Error(close.reason || "the connection was lost"));
  // While it waits there is no connection that could end.
  if (previous === "open" || (previous === "connecting" && state !== "connecting")) {
    // Only credentials that were refused lead from one connection straight to the next attempt.
    onClose?.(close ?? { code: state === "connecting" ? CloseCode.unauthorized : 1000, reason: "" });
  }
}

function parse(data: string | ArrayBuffer): unknown {
  if (typeof data !== "string") return data;
  try {
    return JSON.parse(data);
  } catch {
    return data;
  }
}

/** Nothing, where it cannot be said in JSON: a function, a circle. */
function encode(data: unknown): Data | undefined {
  if (typeof data === "string" || data instanceof ArrayBuffer) return data;
  try {
    return JSON.stringify(data);
  } catch {
    return undefined;
  }
}
