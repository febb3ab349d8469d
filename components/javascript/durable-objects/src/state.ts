/** `ctx`: what an object knows of itself, its sockets and its storage. */
import * as host from "dormouse:host";

import { abort, blockConcurrencyWhile } from "./gates.js";
import { DurableObjectId } from "./rooms/id.js";
import * as connected from "./sockets/connected.js";
import { state, WebSocket, WebSocketRequestResponsePair } from "./sockets/web-socket.js";
import { DurableObjectStorage } from "./storage/storage.js";
import { unsupported } from "./unsupported.js";

/** The host's limits of tags. */
const MAX_TAGS = 10;
const MAX_TAG_BYTES = 256;

export class DurableObjectState {
  readonly storage = new DurableObjectStorage();
  readonly props: Record<string, unknown> = {};
  #id: DurableObjectId | undefined;
  #autoResponse: WebSocketRequestResponsePair | null = null;

  get id(): DurableObjectId {
    return (this.#id ??= new DurableObjectId(host.name()));
  }

  /** A turn ends when nothing moves any more, so it needs no telling what to wait for. Only failures are logged. */
  waitUntil(promise: unknown): void {
    waitUntil(promise);
  }

  blockConcurrencyWhile<T>(callback: () => T | Promise<T>): Promise<T> {
    return blockConcurrencyWhile(callback);
  }

  abort(reason?: unknown): never {
    return abort(reason);
  }

  acceptWebSocket(socket: WebSocket, tags: string[] = []): void {
    if (!(socket instanceof WebSocket)) throw new TypeError("ctx.acceptWebSocket(): the argument is no WebSocket");
    const unique = [...new Set(tags.map(String))];
    checkTags(unique);
    const id = connected.accept(socket);
    socket[state].tags = unique;
    if (unique.length > 0) host.setTags(id, unique);
  }

  getWebSockets(tag?: string): WebSocket[] {
    const sockets = connected.all();
    return tag === undefined ? sockets : sockets.filter((socket) => tagsOf(socket).includes(String(tag)));
  }

  getTags(socket: WebSocket): string[] {
    return [...tagsOf(socket)];
  }

  /** The host answers, also while the room sleeps. */
  setWebSocketAutoResponse(pair?: WebSocketRequestResponsePair | null): void {
    if (pair === undefined || pair === null) {
      host.clearAutoResponse();
    } else if (!(pair instanceof WebSocketRequestResponsePair)) {
      throw new TypeError("setWebSocketAutoResponse(): the argument is no WebSocketRequestResponsePair");
    } else if (host.setAutoResponse(pair.request, pair.response) !== null) {
      throw new RangeError("setWebSocketAutoResponse(): request and response cannot exceed 2048 bytes");
    }
    this.#autoResponse = pair ?? null;
  }

  getWebSocketAutoResponse(): WebSocketRequestResponsePair | null {
    return this.#autoResponse;
  }

  getWebSocketAutoResponseTimestamp(socket: WebSocket): Date | null {
    const { id } = socket[state];
    const at = id === undefined ? undefined : host.autoRespondedAt(id);
    return at === undefined ? null : new Date(at);
  }

  /** The host limits each turn by its CPU time. */
  setHibernatableWebSocketEventTimeout(_milliseconds?: number): void {}

  getHibernatableWebSocketEventTimeout(): null {
    return null;
  }

  get facets(): never {
    return unsupported("ctx.facets", "use a namespace of its own, and call its objects by their stubs");
  }

  get exports(): never {
    return unsupported("ctx.exports", "use env and its bindings");
  }
}

/** Also an export of `cloudflare:workers`. */
export const waitUntil = (promise: unknown): void => {
  Promise.resolve(promise).catch((error: unknown) => console.error("waitUntil():", error));
};

const tagsOf = (socket: WebSocket): string[] => {
  const known = socket[state];
  if (known.id === undefined) throw new Error("ctx.getTags(): only an accepted WebSocket has tags");
  return (known.tags ??= host.tags(known.id));
};

const checkTags = (tags: string[]): void => {
  if (tags.length > MAX_TAGS) {
    throw new RangeError(`ctx.acceptWebSocket(): a WebSocket can have at most ${MAX_TAGS} tags`);
  }
  const long = tags.find((tag) => host.utf8(tag).length > MAX_TAG_BYTES);
  if (long !== undefined) {
    throw new RangeError(`ctx.acceptWebSocket(): a tag can have at most ${MAX_TAG_BYTES} bytes: ${long.slice(0, 40)}…`);
  }
};
