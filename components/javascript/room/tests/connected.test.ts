/** Other rooms and servers; data of users; migrations. */
import assert from "node:assert/strict";
import test from "node:test";

import { onlyInMemory } from "../../testing/outer/engine.js";
import {
  CallError,
  connectedRoomOf,
  Room,
  roomAt,
  roomOf,
  serverAt,
  storage,
  waitingPosts,
} from "../../testing/outer/kit.js";

class Caller extends Room {
  override message(_: unknown, said: { fail?: boolean }): void {
    roomAt("SCORES", "today").post({ path: "/won", body: { who: "ana" } });
    serverAt("https://api.example").post({ method: "PUT", headers: { "x-a": "b" }, body: "text" });
    if (said.fail) throw new Error("a bug");
  }

  override request(): unknown {
    try {
      const user = { id: "7", name: "Bo" };
      const answer = roomAt("SCORES", "today").call({ path: "/best", query: "n=1", user });
      return [answer.status, answer.json(), waitingPosts()];
    } catch (error) {
      return error instanceof CallError ? [error.problem, error.message] : String(error);
    }
  }
}

test("a room calls another one and reads the answer, or the reason why there is none", () => {
  const room = connectedRoomOf(Caller);
  const calls: unknown[] = [];
  room.world.calls = (...call) => {
    calls.push(call);
    return { status: 201, headers: [], body: '{"best":3}' };
  };
  assert.deepEqual(room.json(), [201, { best: 3 }, 0]);
  const user = { id: "7", name: "Bo" };
  const request = { method: "GET", path: "/best", query: "n=1", headers: [], body: "", user };
  assert.deepEqual(calls, [["SCORES", "today", request]]);
  room.world.calls = () => "overloaded";
  assert.deepEqual(room.json(), ["overloaded", "call of SCORES/today: overloaded"]);
});

test("a post belongs to its turn", () => {
  const room = connectedRoomOf(Caller);
  const ana = room.connect("ana");
  assert.throws(() => room.send(ana, { fail: true }), /a bug/);
  assert.equal(room.world.posts.length, 0);
  room.send(ana, {});
  const json = [["content-type", "application/json"]];
  assert.deepEqual(room.world.posts, [
    {
      to: { namespace: "SCORES", name: "today" },
      request: { method: "POST", path: "/won", headers: json, body: '{"who":"ana"}' },
    },
    {
      to: { origin: "https://api.example" },
      request: {
        method: "PUT",
        path: "/",
        headers: [
          ["content-type", "text/plain;charset=utf-8"],
          ["x-a", "b"],
        ],
        body: "text",
      },
    },
  ]);
});

test("only a room that imports it is a component that reaches others", onlyInMemory, () => {
  assert.equal(connectedRoomOf(Caller).worldOfBundle(), "connected-room");
  assert.equal(roomOf(Caller).worldOfBundle(), "room");
});

test("a room exports and erases what it keeps about a user", () => {
  class Private extends Room {
    override exportUser(user: string, after: string | undefined) {
      const items = [JSON.stringify({ user, note: storage.get(`note:${user}`) })];
      return after === undefined ? { items, next: "more" } : { items: [] };
    }

    override eraseUser(user: string) {
      return { items: storage.delete(`note:${user}`) ? 1 : 0 };
    }
  }
  const room = roomOf(Private);
  room.world.storage.set("note:7", '\x01"hello"');
  const first = { items: ['{"user":"7","note":"hello"}'], next: "more" };
  assert.deepEqual(room.personalData("exportUser", "7"), first);
  assert.deepEqual(room.personalData("exportUser", "7", "more"), { items: [] });
  assert.deepEqual(room.personalData("eraseUser", "7"), { items: 1 });
  assert.equal(room.world.storage.size, 0);
});

test("older data are migrated before the room is made", () => {
  class Versioned extends Room {
    static readonly dataVersion = 2;

    static migrate(from: number): void {
      if (from > 2) throw new Error(`no way back from version ${from}`);
      storage.put("names", [storage.get("name")]);
    }

    names = storage.get("names")!;

    override request(): unknown {
      return this.names;
    }
  }
  const room = roomOf(Versioned);
  room.world.storage.set("name", '\x01"ana"');
  assert.throws(() => room.migrate(3), /no way back from version 3/);
  assert.equal(room.migrate(1), 2);
  assert.deepEqual(room.json(), ["ana"]);
});
