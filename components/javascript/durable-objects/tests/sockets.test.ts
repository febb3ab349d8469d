/** Sockets that hibernate: `ctx.acceptWebSocket`, tags, attachments, and the events. */
import { DurableObject } from "cloudflare:workers";
import assert from "node:assert/strict";
import test from "node:test";

import { isEngine } from "../../testing/outer/engine.js";
import { roomOf } from "../../testing/outer/objects.js";

/** Executes what its clients say, and tells them about the others. */
class Room extends DurableObject {
  override async fetch(request: Request): Promise<Response> {
    const pair = new WebSocketPair();
    const { searchParams } = new URL(request.url);
    if (request.headers.get("upgrade") !== "websocket") return new Response("not a socket", { status: 426 });
    if (searchParams.has("early")) pair[1].serializeAttachment({ early: true });
    this.ctx.acceptWebSocket(pair[1], searchParams.getAll("tag"));
    pair[1].send("welcome");
    return new Response(null, { status: 101, webSocket: pair[0] });
  }

  override async webSocketMessage(ws: WebSocket, message: string | ArrayBuffer): Promise<void> {
    if (typeof message !== "string") {
      const bytes = new Uint8Array(message);
      bytes[0]!++;
      ws.send(message);
      bytes[0] = 99; // after send(): it is too late
      return;
    }
    const [verb, argument = ""] = message.split(" ");
    const all = this.ctx.getWebSockets();
    switch (verb) {
      case "all":
        for (const socket of all) socket.send(argument);
        break;
      case "others":
        for (const socket of all) if (socket !== ws) socket.send(argument);
        break;
      case "tagged":
        for (const socket of this.ctx.getWebSockets(argument)) socket.send("for the tagged");
        break;
      case "tags":
        ws.send(this.ctx.getTags(ws).join());
        break;
      case "attach":
        ws.serializeAttachment({ nick: argument, since: new Date(5) });
        break;
      case "who":
        ws.send(JSON.stringify(ws.deserializeAttachment()));
        break;
      case "close":
        ws.send("bye");
        ws.close(Number(argument) || undefined, "enough");
        ws.close(1000, "again");
        break;
      case "order":
        ws.send("1");
        for (const socket of all) socket.send("2");
        ws.send("3");
        break;
      case "throw":
        ws.send("before");
        throw new Error("a bug");
      default:
        ws.send(`${ws.readyState} ${ws.url} ${all.length}`);
    }
  }

  override async webSocketClose(ws: WebSocket, code: number, reason: string, wasClean: boolean): Promise<void> {
    ws.close(code, "Durable Object is closing WebSocket"); // as Cloudflare's examples do
    const left = ws.deserializeAttachment()?.nick ?? "somebody";
    for (const socket of this.ctx.getWebSockets()) socket.send(`${left} left: ${code} ${reason} ${wasClean}`);
  }
}

const three = (options = {}) => {
  const room = roomOf(Room, options);
  const clients = ["ana", "bo", "cem"].map((name) => room.connect(name));
  for (const client of clients) client.takeReceived();
  return { room, clients: clients as [any, any, any] };
};

test("an accepted socket gets what was sent in its connect, and a message wakes the room", () => {
  const room = roomOf(Room);
  const ana = room.connect("ana");
  assert.deepEqual(ana.takeReceived(), ["welcome"]);
  room.hibernate();
  room.send(ana, "hello");
  assert.deepEqual(ana.takeReceived(), ["1 null 1"]);
});

test("one message to all, or to all others, is one broadcast", () => {
  const { room, clients } = three();
  const [ana, bo, cem] = clients;
  room.send(ana, "all x");
  assert.equal(room.world.sends, 1);
  room.hibernate();
  room.send(ana, "others y");
  assert.equal(room.world.sends, 1);
  assert.deepEqual(
    [ana, bo, cem].map((client) => client.takeReceived().join()),
    ["x", "x,y", "x,y"],
  );
});

test("each socket receives its messages in the order of the calls", () => {
  const { room, clients } = three();
  room.send(clients[1], "order");
  assert.deepEqual(
    clients.map((client) => client.takeReceived().join("")),
    ["2", "123", "2"],
  );
});

test("binary messages are bytes, copied when they are sent", () => {
  const { room, clients } = three();
  room.send(clients[0], new Uint8Array([1, 255]));
  assert.deepEqual(clients[0].takeReceived(), [[2, 255]]);
});

test("tags find sockets, also after hibernation", () => {
  const room = roomOf(Room);
  const [ana, bo] = [room.connect("ana", { query: "tag=a&tag=b&tag=a" }), room.connect("bo", { query: "tag=b" })];
  room.send(ana, "tags");
  assert.equal(ana.takeReceived().at(-1), "a,b");
  room.hibernate();
  room.send(bo, "tagged a");
  room.send(bo, "tagged b");
  assert.deepEqual([ana.takeReceived().length, bo.takeReceived().length], [2, 2]);
});

test("an attachment survives hibernation, and is there in webSocketClose", () => {
  const { room, clients } = three();
  const [ana, bo] = clients;
  room.send(ana, "who");
  room.send(ana, "attach nan");
  room.hibernate();
  room.send(ana, "who");
  assert.deepEqual(ana.takeReceived(), ["null", '{"nick":"nan","since":"1970-01-01T00:00:00.005Z"}']);
  room.hibernate();
  room.leave(ana, 4001, "later");
  assert.deepEqual(bo.takeReceived(), ["nan left: 4001 later true"]);
});

test("an attachment that is set before the socket is accepted is kept", () => {
  const room = roomOf(Room);
  const ana = room.connect("ana", { query: "early" });
  room.hibernate();
  room.send(ana, "who");
  assert.equal(ana.takeReceived().at(-1), '{"early":true}');
});

test("a lost connection is a close with 1006 that was not clean", () => {
  const { room, clients } = three();
  room.leave(clients[0]);
  assert.deepEqual(clients[1].takeReceived(), ["somebody left: 1006  false"]);
});

test("close() sends what came before, once, and codes that nobody uses become 1000", () => {
  const { room, clients } = three();
  const [ana, bo, cem] = clients;
  room.send(ana, "close 4002");
  assert.deepEqual([ana.closed, ana.takeReceived()], [{ code: 4002, reason: "enough" }, ["bye"]]);
  room.send(bo, "close 1001");
  assert.deepEqual(bo.closed, { code: 1001, reason: "enough" });
  assert.deepEqual(cem.takeReceived(), ["somebody left: 4002 enough true", "somebody left: 1001 enough true"]);
  room.send(cem, "close 1006");
  assert.match(room.world.logged.join(), /Invalid WebSocket close code: 1006/);
});

test("a handler that throws still sends what it said before", () => {
  const { room, clients } = three();
  room.send(clients[0], "throw");
  assert.deepEqual(clients[0].takeReceived(), ["before"]);
  assert.deepEqual(room.world.logged, ["ERROR webSocketMessage(): Error: a bug"]);
  const undone = three({ onError: "rollback" });
  assert.throws(() => undone.room.send(undone.clients[0], "throw"), /a bug/);
  assert.deepEqual(undone.clients[0].takeReceived(), []);
});

test("an auto-response is answered while the room sleeps", () => {
  class Auto extends DurableObject {
    constructor(ctx: DurableObjectState, env: unknown) {
      super(ctx, env as never);
      ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
    }

    override fetch(): Response {
      const pair = new WebSocketPair();
      this.ctx.acceptWebSocket(pair[1]);
      return new Response(null, { status: 101, webSocket: pair[0] });
    }

    override webSocketMessage(ws: WebSocket, message: string): void {
      const { request, response } = this.ctx.getWebSocketAutoResponse() ?? {};
      if (message === "off") this.ctx.setWebSocketAutoResponse();
      ws.send(`${request}/${response}/${this.ctx.getWebSocketAutoResponseTimestamp(ws)?.getTime()}`);
    }
  }
  const room = roomOf(Auto);
  const ana = room.connect("ana");
  room.hibernate();
  const pinged = isEngine ? undefined : room.world.now;
  room.send(ana, "ping");
  assert.equal(room.isAwake, false);
  room.advance(1_000);
  room.send(ana, "off");
  room.send(ana, "ping");
  assert.deepEqual(ana.takeReceived(), ["pong", `ping/pong/${pinged}`, `undefined/undefined/${pinged}`]);
});

test("limits of sockets are errors with their numbers", () => {
  class Limits extends DurableObject {
    override async fetch(): Promise<Response> {
      const { ctx } = this;
      const errors: string[] = [];
      const attempt = (run: () => unknown) => {
        try {
          run();
          errors.push("none");
        } catch (error: any) {
          errors.push(`${error.name}: ${error.message}`);
        }
      };
      const pair = new WebSocketPair();
      const ws = pair[1];
      attempt(() => ws.send("too early"));
      attempt(() => ctx.acceptWebSocket({} as never));
      attempt(() =>
        ctx.acceptWebSocket(
          ws,
          Array.from({ length: 11 }, (_, at) => `t${at}`),
        ),
      );
      attempt(() => ctx.acceptWebSocket(ws, ["é".repeat(129)]));
      ctx.acceptWebSocket(ws);
      attempt(() => ctx.acceptWebSocket(ws));
      attempt(() => ctx.acceptWebSocket(pair[0]));
      attempt(() => ws.send("x".repeat(1024 * 1024 + 1)));
      attempt(() => ws.send("é".repeat(512 * 1024 + 1)));
      attempt(() => ws.send("é".repeat(512 * 1024)));
      attempt(() => ws.serializeAttachment("x".repeat(16_384)));
      attempt(() => ws.serializeAttachment(() => {}));
      attempt(() => ws.close(1000, "x".repeat(124)));
      attempt(() => ws.close(999));
      attempt(() => ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("x".repeat(2049), "")));
      attempt(() => ctx.getTags(pair[0]));
      ws.close();
      attempt(() => ws.send("too late"));
      await ctx.storage.put("errors", errors);
      return new Response(null, { status: 101, webSocket: pair[0] });
    }
  }
  const room = roomOf(Limits);
  room.connect("ana");
  const errors = JSON.parse(Buffer.from(room.world.storage.get("errors")!.slice(1), "latin1").toString());
  for (const [at, pattern] of [
    /must call one of accept\(\) or state.acceptWebSocket/,
    /no WebSocket/,
    /at most 10 tags/,
    /at most 256 bytes/,
    /accepted already/,
    /only once, and while a client connects/,
    /1048577 bytes; at most 1048576/,
    /1048578 bytes/,
    /^none$/,
    /at most 16384 are allowed/,
    /DataCloneError/,
    /more than 123 bytes/,
    /Invalid WebSocket close code: 999/,
    /cannot exceed 2048/,
    /only an accepted WebSocket has tags/,
    /after close/,
  ].entries()) {
    assert.match(errors[at], pattern);
  }
});

test("a socket is the same object in all events of an instance", () => {
  class Same extends DurableObject {
    seen = new Set<WebSocket>();

    override fetch(): Response {
      const pair = new WebSocketPair();
      this.ctx.acceptWebSocket(pair[1]);
      this.seen.add(pair[1]);
      return new Response(null, { status: 101, webSocket: pair[0] });
    }

    override webSocketMessage(ws: WebSocket): void {
      const isSame = this.seen.has(ws);
      this.seen.add(ws);
      ws.send(String(isSame && this.ctx.getWebSockets().every((socket) => this.seen.has(socket))));
    }
  }
  const room = roomOf(Same);
  const ana = room.connect("ana");
  room.send(ana, "x");
  room.hibernate();
  room.send(ana, "x");
  room.send(ana, "x");
  assert.deepEqual(ana.takeReceived(), ["true", "false", "true"]);
});

test("a socket that is accepted by itself has listeners, until its object sleeps", () => {
  class Live extends DurableObject {
    count = 0;

    override fetch(): Response {
      const [client, server] = Object.values(new WebSocketPair()) as [WebSocket, WebSocket];
      server.accept();
      this.count++;
      server.addEventListener("message", async (event) => {
        await this.ctx.storage.put("last", event.data as string);
        server.send(`${typeof event.data} ${this.count} ${this.ctx.getWebSockets().length}`);
      });
      server.addEventListener("close", (event) => {
        this.count--;
        void this.ctx.storage.put("closed", `${event.code} ${event.reason} ${event.wasClean}`);
        server.close(event.code);
      });
      server.send("welcome");
      return new Response(null, { status: 101, webSocket: client });
    }

    async closed(): Promise<unknown> {
      return this.ctx.storage.get("closed");
    }

    override webSocketMessage(): void {
      throw new Error("it does not hibernate");
    }
  }
  const room = roomOf(Live);
  const [ana, bo] = [room.connect("ana"), room.connect("bo")];
  room.send(ana, "hello");
  room.send(ana, new Uint8Array([1]));
  assert.deepEqual(ana.takeReceived(), ["welcome", "string 2 0", "object 2 0"]);
  assert.deepEqual(bo.takeReceived(), ["welcome"]);
  room.leave(bo, 4000, "enough");
  room.send(ana, "again");
  assert.deepEqual(ana.takeReceived(), ["string 1 0"]);
  room.hibernate();
  room.send(ana, "still there?");
  assert.deepEqual(ana.takeReceived(), []);
  assert.deepEqual(ana.closed, { code: 1012, reason: "the object was asleep; come back" });
  assert.deepEqual(room.world.logged, []);
});
