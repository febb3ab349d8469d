/**
 * A presence room as a plain Durable Object class: it tells its clients which users are present. It speaks the wire
 * protocol of Dormouse's own presence room, so the browser client works with it.
 *
 * Storage has the listed users, and the host the sockets. After a restart of the host the two differ: all sockets ended
 * without a close. The alarm removes users who do not come back.
 */
import { DurableObject } from "cloudflare:workers";

import {
  ClientError,
  clientIdIn,
  type Fields,
  fieldsOf,
  problem,
} from "./client-input.js";
import type { User } from "./user.js";

type Status = "online" | "away" | "busy";

/** A listed user, under `user:` and the id. */
interface Entry {
  name: string;
  status: Status;
  lastSeen: number;
  /** When the room first noticed that the user has no socket. */
  missingSince?: number;
}

/** The status of a user whose connection was lost, under `left:` and the id. */
interface Left {
  status: Status;
  at: number;
}

const LISTED = "user:";
const LEFT = "left:";

/** How often the list is checked, how long a user may be without a socket, and how long a status is kept. */
const CHECK_MS = 60_000;
const GRACE_MS = 90_000;
const KEEP_MS = 60 * 60_000;

/** The most users in one list, and the most bytes of one: below the longest frame. */
const MAX_USERS = 4_000;
const MAX_BYTES = 896 * 1024;

export class Presence extends DurableObject {
  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    ctx.setWebSocketAutoResponse(
      new WebSocketRequestResponsePair('{"type":"ping"}', '{"type":"pong"}'),
    );
  }

  override async fetch(request: Request): Promise<Response> {
    const { user } = request;
    if (!user) return problem(401, "this needs a valid identity");
    const { pathname, searchParams } = new URL(request.url);
    if (request.headers.get("Upgrade") === "websocket")
      return this.#connect(user);
    if (request.method === "GET" && pathname === "/list") {
      return Response.json(
        await this.#list(searchParams.get("after") ?? undefined),
      );
    }
    if (request.method !== "POST" || pathname !== "/update") {
      return problem(404, "this room answers GET /list and POST /update");
    }
    const text = await request.text();
    try {
      const fields = fieldsOf(text);
      await this.#update(
        user.id,
        fields["type"] === "heartbeat" ? undefined : statusOf(fields),
      );
      return Response.json({ success: true });
    } catch (error) {
      if (error instanceof ClientError) return error.response(clientIdIn(text));
      throw error;
    }
  }

  override async webSocketMessage(
    ws: WebSocket,
    message: string | ArrayBuffer,
  ): Promise<void> {
    if (typeof message !== "string") {
      return ws.send(
        new ClientError("not_text", "send JSON in a text message").frame(
          undefined,
        ),
      );
    }
    try {
      await this.#hear(ws, fieldsOf(message));
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
      ws.send(error.frame(clientIdIn(message)));
    }
  }

  override async webSocketClose(
    ws: WebSocket,
    code: number,
    _reason: string,
    wasClean: boolean,
  ): Promise<void> {
    const user = userOf(ws);
    const entry = await this.#entry(user.id);
    if (!entry) return;
    if (this.#connections(user.id) > 0)
      return this.#tell(this.#updateFrame(user.id, entry));
    await this.#remove(user.id, entry, !(wasClean && code === 1000));
  }

  /** Removes users who did not come back, and old statuses. */
  override async alarm(): Promise<void> {
    const now = Date.now();
    const { storage } = this.ctx;
    let isNeeded = false;
    for (const [key, entry] of await storage.list<Entry>({ prefix: LISTED })) {
      const id = key.slice(LISTED.length);
      if (this.#connections(id) > 0) {
        isNeeded = true;
      } else if (
        entry.missingSince !== undefined &&
        now - entry.missingSince >= GRACE_MS
      ) {
        await this.#remove(id, entry, true);
      } else {
        isNeeded = true;
        await storage.put(key, {
          ...entry,
          missingSince: entry.missingSince ?? now,
        });
      }
    }
    for (const [key, { at }] of await storage.list<Left>({ prefix: LEFT })) {
      if (now - at >= KEEP_MS) await storage.delete(key);
      else isNeeded = true;
    }
    if (isNeeded) await storage.setAlarm(now + CHECK_MS);
  }

  async #connect(user: User): Promise<Response> {
    const { storage } = this.ctx;
    const listed = await this.#entry(user.id);
    const left = await storage.get<Left>(LEFT + user.id);
    if (left) await storage.delete(LEFT + user.id);
    const kept =
      left && Date.now() - left.at < KEEP_MS ? left.status : "online";
    const entry: Entry = {
      name: user.name,
      status: listed?.status ?? kept,
      lastSeen: Date.now(),
    };
    await storage.put(LISTED + user.id, entry);
    if ((await storage.getAlarm()) === null)
      await storage.setAlarm(Date.now() + CHECK_MS);

    const pair = new WebSocketPair();
    this.ctx.acceptWebSocket(pair[1], [user.id]);
    pair[1].serializeAttachment({ id: user.id, name: user.name });
    pair[1].send(
      JSON.stringify({
        type: "presence_list",
        ...(await this.#list(undefined, user.id)),
      }),
    );
    this.#tell(this.#updateFrame(user.id, entry), pair[1]);
    return new Response(null, { status: 101, webSocket: pair[0] });
  }

  async #hear(ws: WebSocket, fields: Fields): Promise<void> {
    switch (fields["type"]) {
      case "status":
        return this.#update(userOf(ws).id, statusOf(fields), ws);
      case "heartbeat":
        return this.#update(userOf(ws).id, undefined, ws);
      case "ping":
        return ws.send('{"type":"pong"}');
    }
    if (typeof fields["type"] !== "string") {
      throw new ClientError(
        "bad_message",
        "type must be a string: status or heartbeat",
      );
    }
    throw new ClientError(
      "unknown_type",
      "type must be status, heartbeat or ping",
    );
  }

  /** A heartbeat, or a status that the user chose. Only a change is sent. Over HTTP an unlisted user stays so. */
  async #update(id: string, status?: Status, ws?: WebSocket): Promise<void> {
    const before = await this.#entry(id);
    if (!before && !ws) return;
    const name = before?.name ?? userOf(ws as WebSocket).name;
    const entry: Entry = {
      name,
      status: status ?? before?.status ?? "online",
      lastSeen: Date.now(),
    };
    await this.ctx.storage.put(LISTED + id, entry);
    if (before?.status === entry.status) return;
    this.#tell(this.#updateFrame(id, entry), before || status ? undefined : ws);
  }

  async #remove(
    id: string,
    { status }: Entry,
    keepsStatus: boolean,
  ): Promise<void> {
    const { storage } = this.ctx;
    await storage.delete(LISTED + id);
    if (keepsStatus && status !== "online") {
      await storage.put(LEFT + id, { status, at: Date.now() } satisfies Left);
      if ((await storage.getAlarm()) === null)
        await storage.setAlarm(Date.now() + CHECK_MS);
    }
    this.#tell({ type: "presence_remove", userId: id });
  }

  /** Users behind an id, sorted by id, as many as fit; with `first` that user comes first. */
  async #list(after: string | undefined, first?: string) {
    const start = after === undefined ? {} : { startAfter: LISTED + after };
    const found = await this.ctx.storage.list<Entry>({
      prefix: LISTED,
      ...start,
      limit: MAX_USERS + 1,
    });
    const entries = [...found].map(
      ([key, entry]) => [key.slice(LISTED.length), entry] as const,
    );
    const own = first === undefined ? undefined : await this.#entry(first);
    const users = own && first !== undefined ? [this.#shown(first, own)] : [];
    let bytes = 0;
    let last = "";
    for (const [id, entry] of entries) {
      const user = this.#shown(id, entry);
      bytes += new TextEncoder().encode(JSON.stringify(user)).length + 1;
      if (users.length > 0 && (users.length >= MAX_USERS || bytes > MAX_BYTES))
        return { users, next: last };
      if (id !== first) users.push(user);
      last = id;
    }
    return { users };
  }

  async #entry(id: string): Promise<Entry | undefined> {
    return this.ctx.storage.get<Entry>(LISTED + id);
  }

  #connections(id: string): number {
    return this.ctx.getWebSockets(id).length;
  }

  #shown(userId: string, { name, status, lastSeen }: Entry) {
    return {
      userId,
      userName: name,
      status,
      lastSeen,
      connections: this.#connections(userId),
    };
  }

  #updateFrame(id: string, entry: Entry) {
    return { type: "presence_update", user: this.#shown(id, entry) };
  }

  #tell(frame: object, except?: WebSocket): void {
    const text = JSON.stringify(frame);
    for (const socket of this.ctx.getWebSockets())
      if (socket !== except) socket.send(text);
  }
}

const userOf = (ws: WebSocket): User => ws.deserializeAttachment() as User;

const statusOf = ({ status }: Fields): Status => {
  if (typeof status !== "string")
    throw new ClientError(
      "bad_message",
      "status must be a string: online, away or busy",
    );
  if (status !== "online" && status !== "away" && status !== "busy") {
    throw new ClientError("bad_status", "status must be online, away or busy");
  }
  return status;
};
