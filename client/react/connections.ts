/** The rooms that a page is in: each once, however many components show it. */

import { type Asked, Chat, type Credentials, Presence, type Timing, type TransportChoice } from "../src/index.js";
import { Held } from "./held.js";

export interface ConnectionsOptions {
  /** Such as `/api/realtime`, or absolute for another origin. */
  baseUrl: string | URL;
  /**
   * Asked before each attempt to connect; `refused` where the last answer was turned down. And while connected by a token
   * that will expire, with `expiring`.
   */
  credentials?: ((asked: Asked) => Promise<Credentials> | Credentials) | undefined;
  /** One's own, where the credentials do not tell (a cookie, a ticket). */
  userId?: string | undefined;
  transport?: TransportChoice | undefined;
  timing?: Partial<Timing> | undefined;
}

export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #chats = new Map<string, Held<Chat>>();
  readonly #presences = new Map<string, Held<Presence>>();

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  /** @throws {TypeError} No room can have this name. */
  chat(roomId: string): Held<Chat> {
    return shared(this.#chats, roomId, () => new Chat({ ...this.#options, roomId }));
  }

  /** @throws {TypeError} No room can have this name. */
  presence(scope: string): Held<Presence> {
    return shared(this.#presences, scope, () => new Presence({ ...this.#options, scope }));
  }
}

function shared<Kept extends { open(): void; close(): void }>(
  kept: Map<string, Held<Kept>>,
  key: string,
  make: () => Kept,
): Held<Kept> {
  const known = kept.get(key);
  if (known) return known;
  const fresh: Held<Kept> = new Held(make(), {
    began: () => kept.set(key, fresh),
    ended: () => kept.delete(key),
    isReplaced: () => kept.has(key) && kept.get(key) !== fresh,
  });
  kept.set(key, fresh);
  return fresh;
}
