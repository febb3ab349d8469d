/**
 * A chat room as a plain Durable Object class: history, typing, who comes and goes. It speaks the wire protocol of
 * Dormouse's own chat room, without moderation, so the browser client works with it.
 */
import { DurableObject } from "cloudflare:workers";

import {
  ClientError,
  clientIdIn,
  clientIdOf,
  type Fields,
  fieldsOf,
  keyOf,
  numberIn,
  problem,
} from "./client-input.js";
import { type ChatMessage, History } from "./history.js";
import { Retries } from "./retries.js";
import type { User } from "./user.js";

/** The longest message, in UTF-16 code units. */
const MAX_CONTENT = 2000;

/** Messages in a history, and in a page by default and at most. */
const IN_HISTORY = 50;
const IN_PAGE = 100;
const MAX_IN_PAGE = 500;

export class ChatRoom extends DurableObject {
  readonly #history = new History(this.ctx.storage);
  readonly #retries = new Retries(this.ctx.storage);
  /** Names this history: numbers of messages are comparable only within one. */
  #incarnation = "";

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    ctx.setWebSocketAutoResponse(
      new WebSocketRequestResponsePair('{"type":"ping"}', '{"type":"pong"}'),
    );
    void ctx.blockConcurrencyWhile(async () => {
      await this.#history.load();
      this.#incarnation = (await ctx.storage.get("incarnation")) ?? "";
    });
  }

  override async fetch(request: Request): Promise<Response> {
    const { user } = request;
    if (!user) return problem(401, "this needs a valid identity");
    const { pathname, searchParams } = new URL(request.url);
    try {
      if (request.headers.get("Upgrade") === "websocket")
        return await this.#connect(user, searchParams);
      if (pathname !== "/messages")
        return problem(404, "this room answers GET and POST /messages");
      if (request.method === "POST") return await this.#post(user, request);
      return await this.#page(searchParams);
    } catch (error) {
      if (error instanceof ClientError) return error.response();
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

  override async webSocketClose(ws: WebSocket): Promise<void> {
    const user = userOf(ws);
    if (this.#socketsOf(user) > 0) return;
    this.#tellOthers(user, {
      type: "user_left",
      userId: user.id,
      userName: user.name,
      timestamp: Date.now(),
    });
  }

  override async alarm(): Promise<void> {
    await this.#retries.removeOld();
  }

  async #connect(user: User, query: URLSearchParams): Promise<Response> {
    const since = numberIn(query, "since");
    if (this.#incarnation === "") {
      this.#incarnation = crypto.randomUUID();
      await this.ctx.storage.put("incarnation", this.#incarnation);
    }
    const pair = new WebSocketPair();
    this.ctx.acceptWebSocket(pair[1], [user.id]);
    pair[1].serializeAttachment({ id: user.id, name: user.name });
    pair[1].send(
      JSON.stringify(await this.#historyFrame(since, query.get("incarnation"))),
    );
    if (this.#socketsOf(user) === 1) {
      this.#tellOthers(user, {
        type: "user_joined",
        userId: user.id,
        userName: user.name,
        timestamp: Date.now(),
      });
    }
    return new Response(null, { status: 101, webSocket: pair[0] });
  }

  /** The messages since a number, if the client can resume there; else the newest. */
  async #historyFrame(since: number | undefined, known: string | null) {
    const frame = { type: "history", incarnation: this.#incarnation };
    const { last } = this.#history;
    const isSame = known === null || known === this.#incarnation;
    if (
      since !== undefined &&
      isSame &&
      since <= last &&
      last - since <= MAX_IN_PAGE
    ) {
      const { messages } = await this.#history.page(MAX_IN_PAGE, {
        after: since,
      });
      if (messages.length === last - since)
        return { ...frame, messages, resumed: true };
    }
    const { messages } = await this.#history.page(IN_HISTORY);
    return {
      ...frame,
      messages,
      ...(since === undefined ? {} : { resumed: false }),
    };
  }

  async #hear(ws: WebSocket, fields: Fields): Promise<void> {
    const user = userOf(ws);
    switch (fields["type"]) {
      case "message": {
        const clientId = clientIdOf(fields);
        const { message, isNew } = await this.#store(
          user,
          contentOf(fields),
          clientId,
        );
        if (!isNew) ws.send(JSON.stringify({ type: "message", message }));
        return;
      }
      case "typing":
        return this.#tellOthers(user, {
          type: "typing",
          userId: user.id,
          userName: user.name,
        });
      case "ping":
        return ws.send('{"type":"pong"}');
    }
    if (typeof fields["type"] !== "string") {
      throw new ClientError(
        "bad_message",
        "type must be a string: message or typing",
      );
    }
    throw new ClientError(
      "unknown_type",
      "type must be message, typing or ping",
    );
  }

  /** Stores a message and sends it to all, unless the user sent it before with one of its keys. */
  async #store(
    user: User,
    content: string,
    clientId?: string,
    idempotencyKey?: string,
  ) {
    const keys = [
      ...(idempotencyKey === undefined ? [] : [`k${idempotencyKey}`]),
      ...(clientId === undefined ? [] : [`c${clientId}`]),
    ];
    const before = await this.#retries.find(user, keys);
    if (before && before.content !== content) {
      throw new ClientError(
        "key_reused",
        "this key was used for a message with other content",
        422,
      );
    }
    if (before) return { message: before, isNew: false };
    const message = await this.#history.append(user, content, clientId);
    await this.#retries.record(user, keys, message);
    this.#tell(this.ctx.getWebSockets(), { type: "message", message });
    return { message, isNew: true };
  }

  async #post(user: User, request: Request): Promise<Response> {
    const text = await request.text();
    try {
      const header = request.headers
        .get("Idempotency-Key")
        ?.replace(/^"(.*)"$/, "$1");
      const key =
        header === undefined ? undefined : keyOf(header, "Idempotency-Key");
      const fields = fieldsOf(text);
      const { message } = await this.#store(
        user,
        contentOf(fields),
        clientIdOf(fields),
        key,
      );
      return Response.json({ success: true, message });
    } catch (error) {
      if (error instanceof ClientError) return error.response(clientIdIn(text));
      throw error;
    }
  }

  async #page(query: URLSearchParams): Promise<Response> {
    const [limit, before, after] = ["limit", "before", "after"].map((name) =>
      numberIn(query, name),
    );
    if (before !== undefined && after !== undefined) {
      throw new ClientError("bad_message", "give before or after, not both");
    }
    if (limit !== undefined && (limit < 1 || limit > MAX_IN_PAGE)) {
      throw new ClientError("bad_message", `limit must be 1 to ${MAX_IN_PAGE}`);
    }
    const range = {
      ...(before === undefined ? {} : { before }),
      ...(after === undefined ? {} : { after }),
    };
    const { messages, hasMore } = await this.#history.page(
      limit ?? IN_PAGE,
      range,
    );
    const isPage =
      limit !== undefined || before !== undefined || after !== undefined;
    return Response.json({ messages, ...(isPage ? { hasMore } : {}) });
  }

  #socketsOf(user: User): number {
    return this.ctx.getWebSockets(user.id).length;
  }

  #tellOthers(user: User, frame: object): void {
    this.#tell(
      this.ctx
        .getWebSockets()
        .filter((socket) => userOf(socket).id !== user.id),
      frame,
    );
  }

  #tell(sockets: WebSocket[], frame: object | { message: ChatMessage }): void {
    const text = JSON.stringify(frame);
    for (const socket of sockets) socket.send(text);
  }
}

const userOf = (ws: WebSocket): User => ws.deserializeAttachment() as User;

/** The content as it is stored: cut, never inside a surrogate pair, and without half of one. */
const contentOf = ({ content }: Fields): string => {
  if (typeof content !== "string")
    throw new ClientError("bad_message", "content must be a string");
  const isCut = content.length > MAX_CONTENT;
  const cut = isCut
    ? content.slice(0, MAX_CONTENT).replace(/[\ud800-\udbff]$/, "")
    : content;
  const kept = cut.replace(/\p{Surrogate}/gu, "\ufffd");
  if (kept.trim() === "")
    throw new ClientError("empty_content", "content must not be empty");
  return kept;
};
