/** The rooms that a page is in: each once, however many components show it. */

import {
  type CredentialsRequest,
  Chat,
  type Close,
  type Credentials,
  Presence,
  type Timing,
  type TransportChoice,
} from "../src/index.js";
import { isWithin, roomSocketUrl } from "../src/endpoints.js";
import { explainUpgrade } from "../src/http.js";
import { RefCounted } from "./ref-counted.js";

export interface ConnectionsOptions {
  /** Such as `/api/realtime`, or absolute for another origin. */
  baseUrl: string | URL;
  /**
   * Asked before each attempt to connect; `refused` where the last answer was turned down. And while connected by a token
   * that will expire, with `expiring`.
   */
  credentials?: ((asked: CredentialsRequest) => Promise<Credentials> | Credentials) | undefined;
  /** One's own, where the credentials do not tell (a cookie, a ticket). */
  userId?: string | undefined;
  transport?: TransportChoice | undefined;
  timing?: Partial<Timing> | undefined;
}

export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #chats = new Map<string, RefCounted<Chat>>();
  readonly #presences = new Map<string, RefCounted<Presence>>();

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  /** Whether anybody is asked for credentials; otherwise the cookie says who asks. */
  get hasCredentials(): boolean {
    return this.#options.credentials !== undefined;
  }

  /** Nothing for an address of another server: a token is for the one that the provider names. */
  credentialsFor(url: string, asked: CredentialsRequest): Promise<Credentials> | Credentials {
    return isWithin(url, this.#options.baseUrl) ? this.#options.credentials?.(asked) : undefined;
  }

  /** Why this server refuses a socket. Another server is not asked over HTTP: nobody knows what that means there. */
  async explain(url: string, credentials: Credentials): Promise<Close | undefined> {
    if (!isWithin(url, this.#options.baseUrl)) throw new TypeError("not the server of the provider");
    return explainUpgrade(url, credentials);
  }

  /** @throws {TypeError} No room can have this name. */
  socketUrl(namespace: string, name: string): string {
    return roomSocketUrl(this.#options.baseUrl, namespace, name);
  }

  /** @throws {TypeError} No room can have this name. */
  chat(roomId: string): RefCounted<Chat> {
    return shared(this.#chats, roomId, () => new Chat({ ...this.#options, roomId }));
  }

  /** @throws {TypeError} No room can have this name. */
  presence(scope: string): RefCounted<Presence> {
    return shared(this.#presences, scope, () => new Presence({ ...this.#options, scope }));
  }
}

function shared<Value extends { open(): void; close(): void }>(
  kept: Map<string, RefCounted<Value>>,
  key: string,
  make: () => Value,
): RefCounted<Value> {
  const known = kept.get(key);
  if (known) return known;
  const fresh: RefCounted<Value> = new RefCounted(make(), {
    opened: () => kept.set(key, fresh),
    closed: () => kept.delete(key),
    isReplaced: () => kept.has(key) && kept.get(key) !== fresh,
  });
  kept.set(key, fresh);
  return fresh;
}
