/** One WebSocket for one component, with the usual interface. `RoomSocket` keeps it open. */

import { useEffect, useMemo } from "react";
import {
  CallError,
  type CallOptions,
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
  /**
   * A path, or a URL with `ws`, `wss`, `http` or `https`. A change reconnects. `null` or `undefined`: no connection.
   */
  url: string | URL | null | undefined;
  /** JSON is parsed. Other text and `ArrayBuffer`s are passed on as they are. */
  onMessage?: (data: any) => void;
  onOpen?: () => void;
  /** Called after every connection and every failed attempt. Not after unmounting. */
  onClose?: (close: Close) => void;
  /** Called before `onClose` if the connection was lost or never opened. */
  onError?: (error: Error) => void;
  /** False: a lost connection is not opened again. Default: true. */
  reconnect?: boolean;
  /**
   * The longest first wait, ms. Each failure doubles it, up to 30 s, and the wait is a random part of it. Default: 500.
   */
  reconnectInterval?: number;
  /**
   * Called before each attempt, and with `expiring` when the token of an open connection is about to expire. A token is
   * sent as a subprotocol, never in the URL. Default: the credentials of the `DormouseProvider` above, for URLs of its
   * server.
   */
  credentials?: (asked: CredentialsRequest) => Promise<Credentials> | Credentials;
  /**
   * False for a server that is not Dormouse: it receives no `{"type":"ping"}`, no new token, and no HTTP request that
   * asks why it refuses. Default: true.
   */
  probe?: boolean;
}

export interface UseWebSocketResult {
  isConnected: boolean;
  state: State;
  /**
   * While waiting or closed: why the last connection ended. `reason` says why it does not connect, such as
   * `HTTP 404; there is nothing at this path`, if the server gives one.
   */
  close: Close | undefined;
  /**
   * Text and `ArrayBuffer`s are sent as they are, everything else as JSON. Up to 100 messages wait for a connection.
   * Never throws: `rejected` means that the message was dropped.
   */
  send: (data: unknown) => "sent" | "queued" | "rejected";
  /**
   * Calls the room, and resolves with its answer: see `call` of `RoomSocket`. Rejects with a `CallError`. Unmounting
   * ends the wait.
   */
  call: (name: string, args?: unknown, options?: CallOptions) => Promise<unknown>;
  /** Closes until `connect` is called. Messages that wait are dropped. */
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
      call: (name: string, args?: unknown, options?: CallOptions): Promise<unknown> =>
        shared?.value.call(name, args, options) ?? Promise.reject(new CallError("not_sent", "there is no room")),
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
  // While it waits there is no connection that could close.
  if (previous === "open" || (previous === "connecting" && state !== "connecting")) {
    // Only refused credentials lead from one connection directly to the next attempt.
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

/** `undefined` if it cannot be JSON, such as a function or a circular object. */
function encode(data: unknown): Data | undefined {
  if (typeof data === "string" || data instanceof ArrayBuffer) return data;
  try {
    return JSON.stringify(data);
  } catch {
    return undefined;
  }
}
