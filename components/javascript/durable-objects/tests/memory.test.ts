/** What an object keeps in memory: the warning, and `remember`. */
import { DurableObject } from "cloudflare:workers";
import assert from "node:assert/strict";
import test from "node:test";

import { roomOf } from "../../testing/outer/objects.js";

/** Keeps its users in a Map by socket, as many examples do. */
class Chat extends DurableObject {
  sessions = new Map<WebSocket, { name: string; since: Date }>();
  online = new Map<string, { count: number }>();
  typing = new Set<WebSocket>();

  override async fetch(request: Request): Promise<Response> {
    const name = new URL(request.url).searchParams.get("userName");
    if (request.headers.get("upgrade") !== "websocket") {
      return Response.json([[...this.online], this.sessions.size, this.typing.size]);
    }
    const pair = new WebSocketPair();
    this.ctx.acceptWebSocket(pair[1]);
    if (new URL(request.url).searchParams.has("attach")) pair[1].serializeAttachment({ name });
    this.sessions.set(pair[1], { name: name!, since: new Date(5) });
    this.online.set(name!, { count: (this.online.get(name!)?.count ?? 0) + 1 });
    return new Response(null, { status: 101, webSocket: pair[0] });
  }

  override webSocketMessage(ws: WebSocket, text: string): void {
    const session = this.sessions.get(ws);
    if (!session) return;
    if (text === "typing") this.typing.add(ws);
    if (text === "break") this.online.set("broken", { count: (() => {}) as never });
    for (const socket of this.ctx.getWebSockets()) socket.send(`${session.name}: ${text} ${session.since.getTime()}`);
  }

  override webSocketClose(ws: WebSocket): void {
    this.online.delete(this.sessions.get(ws)?.name ?? "");
    this.sessions.delete(ws);
  }
}

const identity = { query: { userName: "name" as const } };

test("a Map by WebSocket is empty after hibernation, and the room says so once", () => {
  const room = roomOf(Chat, { identity });
  const ana = room.connect("ana");
  room.connect("bo");
  assert.deepEqual(room.world.logged, [
    "WARN Chat.sessions holds data by WebSocket; it is empty when the room wakes from hibernation. " +
      'Keep it with ws.serializeAttachment(), or build with remember: ["sessions"]',
  ]);
  room.hibernate();
  room.send(ana, "hello");
  assert.deepEqual(ana.takeReceived(), []);
});

test("a room whose sockets have attachments is not warned about", () => {
  const room = roomOf(Chat, { identity });
  room.connect("ana", { query: "attach" });
  assert.deepEqual(room.world.logged, []);
});

const remember = ["sessions", "online", "typing"];

test("remembered fields are there after hibernation, and nobody is warned", () => {
  const room = roomOf(Chat, { identity, remember });
  const [ana, bo] = [room.connect("ana"), room.connect("bo")];
  room.send(ana, "typing");
  room.hibernate();
  room.send(bo, "hello");
  assert.equal(ana.takeReceived().at(-1), "bo: hello 5");
  assert.deepEqual(room.json(), [
    [
      ["ana", { count: 1 }],
      ["bo", { count: 1 }],
    ],
    2,
    1,
  ]);
  room.hibernate();
  room.leave(ana, 1000);
  assert.deepEqual(room.json(), [[["bo", { count: 1 }]], 1, 1]);
  room.hibernate();
  assert.deepEqual(room.json(), [[["bo", { count: 1 }]], 1, 0]);
  assert.deepEqual(room.world.logged, []);
});

test("after a restart, remembered fields do not show clients that are gone", () => {
  const room = roomOf(Chat, { identity, remember });
  room.connect("ana");
  room.restart();
  assert.deepEqual(room.json(), [[], 0, 0]);
  room.connect("bo");
  room.hibernate();
  assert.deepEqual(room.json(), [[["bo", { count: 1 }]], 1, 0]);
});

test("a remembered field is written only when it has changed", () => {
  const room = roomOf(Chat, { identity, remember });
  const ana = room.connect("ana");
  const before = [...room.world.storage.entries()];
  for (const key of room.world.storage.keys()) room.world.storage.set(key, "\x01null");
  room.send(ana, "hello");
  assert.ok([...room.world.storage.values()].every((value) => value === "\x01null"));
  assert.equal(before.length, 3);
});

test("stored fields are no keys of the object, and outlive deleteAll", () => {
  class Listing extends Chat {
    override async webSocketMessage(ws: WebSocket): Promise<void> {
      await this.ctx.storage.deleteAll();
      ws.send(`${(await this.ctx.storage.list()).size} ${this.sessions.size}`);
    }
  }
  const source = String(Listing).replace("extends Chat", `extends (${String(Chat)})`);
  const room = roomOf({ toString: () => source }, { identity, remember });
  const ana = room.connect("ana");
  room.send(ana, "x");
  room.hibernate();
  room.send(ana, "x");
  assert.deepEqual(ana.takeReceived(), ["0 1", "0 1"]);
});

test("a field that cannot be stored is reported, and the others are kept", () => {
  const room = roomOf(Chat, { identity, remember });
  const ana = room.connect("ana");
  room.send(ana, "break");
  assert.match(room.world.logged.join(), /ERROR remember: the field online has a value that cannot be stored/);
  room.hibernate();
  room.send(ana, "hello");
  assert.equal(ana.takeReceived().at(-1), "ana: hello 5");
});
