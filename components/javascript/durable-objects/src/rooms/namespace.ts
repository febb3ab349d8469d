/**
 * Namespaces of rooms and the stubs of their objects. `reach` is the way to a room: in a room a call of the host, in a
 * Worker a destination for the router.
 */
import * as host from "dormouse:host";

import { unsupported } from "../unsupported.js";
import { Body } from "../web/body.js";
import { Request, type RequestInit, toHost } from "../web/request.js";
import type { Response } from "../web/response.js";
import { ReadableStream } from "../web/streams.js";
import { DurableObjectId } from "./id.js";

export interface Reach {
  /** Sends a request to a room. */
  fetch(namespace: string, room: string, request: host.Request): Response;
  /** Calls a method of the object in a room. */
  call(namespace: string, room: string, method: string, args: unknown[]): unknown;
}

export class DurableObjectNamespace {
  readonly #name: string;
  readonly #reach: Reach;

  constructor(name: string, reach: Reach) {
    this.#name = name;
    this.#reach = reach;
  }

  idFromName(name: string): DurableObjectId {
    return new DurableObjectId(String(name));
  }

  idFromString(text: string): DurableObjectId {
    return DurableObjectId.parse(text);
  }

  newUniqueId(_options?: unknown): DurableObjectId {
    return DurableObjectId.unique();
  }

  /** `locationHint` means nothing here: all rooms are on one server. */
  get(id: DurableObjectId, _options?: unknown): object {
    if (!(id instanceof DurableObjectId)) {
      throw new TypeError("get(): the argument is no DurableObjectId; use idFromName(), idFromString() or getByName()");
    }
    return stub(this.#name, id, this.#reach);
  }

  getByName(name: string, options?: unknown): object {
    return this.get(this.idFromName(name), options);
  }

  /** Jurisdictions mean nothing here: the operator's server is where it is. */
  jurisdiction(_name: string): DurableObjectNamespace {
    return this;
  }
}

/** An object in which every other name is a method of the object behind it. */
const stub = (namespace: string, id: DurableObjectId, reach: Reach): object => {
  const room = DurableObjectId.room(id);
  const own: Record<string, unknown> = {
    id,
    name: id.name,
    fetch: async (input: Request | string, init?: RequestInit) => {
      const request = new Request(input, init);
      request.signal.throwIfAborted();
      // A body that is whole is sent at once, so that requests keep their order.
      const data = Body.unread(request);
      return reach.fetch(
        namespace,
        room,
        toHost(request, data instanceof ReadableStream ? await Body.whole(request) : data),
      );
    },
    connect: () => unsupported("stub.connect()", "use stub.fetch()"),
  };
  return new Proxy(own, {
    get: (_target, name) => {
      // `then` must be absent: a stub is no promise.
      if (typeof name !== "string" || name === "then" || name === "toJSON") return undefined;
      return Object.hasOwn(own, name) ? own[name] : method(namespace, room, name, reach);
    },
  });
};

const method = (namespace: string, room: string, name: string, reach: Reach) => {
  const call = async (...args: unknown[]): Promise<unknown> => reach.call(namespace, room, name, args);
  // `await stub.name` asks for this.
  const then = (_resolve: unknown, reject: (error: unknown) => void): void => {
    try {
      unsupported(`await stub.${name}`, "only methods can be called; write a method that returns the value");
    } catch (error) {
      reject(error);
    }
  };
  return Object.assign(call, { then });
};
