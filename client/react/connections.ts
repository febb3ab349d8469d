/** The rooms of a page: one connection for each, however many components show it. */

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
   * Called before each attempt to connect. `refused`: the server refused the last credentials. `expiring`: the token of
   * the open connection is about to expire.
   */
  credentials?: ((asked: CredentialsRequest) => Promise<Credentials> | Credentials) | undefined;
  /** The user's own id, if the credentials do not contain it (a cookie, a ticket). */
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

  /** Whether there is a `credentials` function; otherwise the cookie is used. */
  get hasCredentials(): boolean {
    return this.#options.credentials !== undefined;
  }

  /** `undefined` for a URL of another server: a token is only for the provider's server. */
  credentialsFor(url: string, asked: CredentialsRequest): Promise<Credentials> | Credentials {
    return isWithin(url, this.#options.baseUrl) ? this.#options.credentials?.(asked) : undefined;
  }

  /** Why this server refuses a socket. Other servers are not asked: their answers over HTTP may mean anything. */
  async explain(url: string, credentials: Credentials): Promise<Close | undefined> {
    if (!isWithin(url, this.#options.baseUrl)) throw new TypeError("not the server of the provider");
    return explainUpgrade(url, credentials);
  }

  /** @throws {TypeError} The name is not valid for a room. */
  socketUrl(namespace: string, name: string): string {
    return roomSocketUrl(this.#options.baseUrl, namespace, name);
  }

  /** @throws {TypeError} The name is not valid for a room. */
  chat(roomId: string): RefCounted<Chat> {
    return shared(this.#chats, roomId, () => new Chat({ ...this.#options, roomId }));
  }

  /** @throws {TypeError} The name is not valid for a room. */
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
