/**
 * `WebSocket` and `WebSocketPair`. A socket of the pair becomes a client's when `ctx.acceptWebSocket` or its own `accept`
 * binds it to the id that the host gave the client. There is one object for each client and instance, so `===` and `Map`
 * keys hold.
 */
import * as host from "dormouse:host";
import type { SocketId } from "dormouse:host";

import { unsupported } from "../unsupported.js";
import { EventTarget } from "../web/events.js";
import { sendLater, closeLater } from "./outgoing.js";

const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;

/** The longest message, in bytes of UTF-8: the limit of `socket.send`. */
const MAX_MESSAGE_BYTES = 1024 * 1024;

/** The longest reason of a close, in bytes: RFC 6455. */
const MAX_REASON_BYTES = 123;

/** The largest attachment, in bytes: the limit of `socket.set-attachment`. */
const MAX_ATTACHMENT_BYTES = 16_384;

/** What the other modules know of a socket. A symbol hides it from `Object.keys`. */
export const state = Symbol("state");

interface SocketState {
  /** Absent until the socket is accepted. */
  id?: SocketId;
  /** The other end of the pair. */
  other?: WebSocket;
  /** Cached: only the room changes them. */
  tags?: string[];
  /** The attachment that was given before the socket was accepted. */
  early?: Uint8Array;
  /** Accepted by itself: it has listeners, which end with the instance. */
  isLive?: boolean;
}

let acceptLive: (socket: WebSocket) => void;

/** Sets what `accept()` does. */
export const onAccept = (accept: typeof acceptLive): void => {
  acceptLive = accept;
};

export class WebSocket extends EventTarget {
  static readonly READY_STATE_CONNECTING = CONNECTING;
  static readonly READY_STATE_OPEN = OPEN;
  static readonly READY_STATE_CLOSING = CLOSING;
  static readonly READY_STATE_CLOSED = CLOSED;
  static readonly CONNECTING = CONNECTING;
  static readonly OPEN = OPEN;
  static readonly CLOSING = CLOSING;
  static readonly CLOSED = CLOSED;

  readonly [state]: SocketState = {};
  #readyState = OPEN;
  #hasSentClose = false;

  binaryType = "arraybuffer";

  constructor(url?: string) {
    super();
    if (url !== undefined) {
      unsupported("new WebSocket(url)", "a room cannot open sockets to servers; let the server connect to the room");
    }
  }

  /** The socket of a client that is connected already. */
  static ofClient(id: SocketId): WebSocket {
    const socket = new WebSocket();
    socket[state].id = id;
    return socket;
  }

  /** Its client has left: nothing can be sent any more. */
  static left(socket: WebSocket): void {
    socket.#readyState = CLOSED;
  }

  get readyState(): number {
    return this.#readyState;
  }

  get url(): null {
    return null;
  }

  get protocol(): string {
    return "";
  }

  get extensions(): string {
    return "";
  }

  /** The events go to the listeners of this object. It does not hibernate: its client is closed when the object sleeps. */
  accept(_options?: unknown): void {
    acceptLive(this);
  }

  send(data: unknown): void {
    const { id } = this[state];
    if (id === undefined) {
      throw new TypeError(
        "You must call one of accept() or state.acceptWebSocket() on this WebSocket before sending messages.",
      );
    }
    if (this.#hasSentClose) throw new TypeError("Can't call WebSocket send() after close().");
    if (this.#readyState !== OPEN) return; // as on Cloudflare: the client has left, and webSocketClose says so
    const message = messageOf(data);
    const bytes = byteLength(message);
    if (bytes > MAX_MESSAGE_BYTES) {
      throw new RangeError(`ws.send(): the message has ${bytes} bytes; at most ${MAX_MESSAGE_BYTES} are allowed`);
    }
    sendLater(id, message);
  }

  close(code?: number, reason?: string): void {
    const { id } = this[state];
    if (id === undefined || this.#hasSentClose || this.#readyState === CLOSED) return;
    const sent = closeCode(code ?? 1000);
    const text = String(reason ?? "");
    if (host.utf8(text).length > MAX_REASON_BYTES) {
      throw new RangeError(`ws.close(): the reason has more than ${MAX_REASON_BYTES} bytes`);
    }
    this.#hasSentClose = true;
    this.#readyState = CLOSING;
    closeLater(id, sent, text);
  }

  serializeAttachment(value: unknown): void {
    const bytes = host.encode(value);
    if (bytes.length > MAX_ATTACHMENT_BYTES) {
      throw new RangeError(
        `ws.serializeAttachment(): the value has ${bytes.length} bytes; at most ${MAX_ATTACHMENT_BYTES} are allowed`,
      );
    }
    const { id } = this[state];
    if (id === undefined) this[state].early = bytes;
    else host.setAttachment(id, bytes); // it fails only if the client has left
  }

  deserializeAttachment(): unknown {
    const { id, early } = this[state];
    const bytes = id === undefined ? early : host.attachment(id);
    return bytes === undefined || bytes.length === 0 ? null : host.decode(bytes);
  }

  get [Symbol.toStringTag](): string {
    return "WebSocket";
  }
}

/** Two ends: the first is returned with status 101, the second is accepted. */
export class WebSocketPair {
  readonly 0 = new WebSocket();
  readonly 1 = new WebSocket();

  constructor() {
    this[0][state].other = this[1];
    this[1][state].other = this[0];
  }
}

export class WebSocketRequestResponsePair {
  readonly request: string;
  readonly response: string;

  constructor(request: string, response: string) {
    this.request = String(request);
    this.response = String(response);
  }
}

/** A view or a buffer is copied: the caller may change it before the turn ends. */
const messageOf = (data: unknown): string | Uint8Array => {
  if (typeof data === "string") return data;
  if (data instanceof ArrayBuffer) return new Uint8Array(data.slice(0));
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength) as ArrayBuffer);
  }
  return String(data);
};

const byteLength = (message: string | Uint8Array): number => {
  if (typeof message !== "string") return message.length;
  // A unit of UTF-16 has at most three bytes in UTF-8, so most texts need no counting.
  return message.length * 3 <= MAX_MESSAGE_BYTES ? message.length : host.utf8(message).length;
};

/** The code that the host sends: those that Cloudflare allows, but for 1016 to 2999, which become 1000. */
const closeCode = (code: number): number => {
  if (!Number.isInteger(code) || code < 1000 || code > 4999 || [1004, 1005, 1006, 1015].includes(code)) {
    throw new TypeError(`Invalid WebSocket close code: ${code}.`);
  }
  return code <= 1014 || code >= 3000 ? code : 1000;
};
