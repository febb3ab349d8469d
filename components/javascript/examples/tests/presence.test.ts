/** The presence room of `components/examples/durable-objects` speaks the wire protocol of `client/PROTOCOL.md`. */
import assert from "node:assert/strict";
import test from "node:test";

import { exampleRoom } from "../../testing/outer/example.js";

const presence = () => exampleRoom("presence");

const MINUTE = 60_000;

test("the first frame is the list with the own user first, and the others get an update", () => {
  const room = presence();
  const bo = room.connect("bo");
  room.hibernate();
  const ana = room.connect("zoe");
  const user = { userName: "bo", status: "online", lastSeen: room.world.now, connections: 1 };
  const [list] = ana.takeJson();
  assert.deepEqual(
    list.users.map((one: any) => one.userId),
    ["zoe", "bo"],
  );
  assert.deepEqual(list.users[1], { userId: "bo", ...user });
  assert.equal("next" in list, false);
  assert.deepEqual(bo.takeJson().slice(1), [
    { type: "presence_update", user: { ...user, userId: "zoe", userName: "zoe" } },
  ]);
});

test("a status goes to all, a heartbeat to nobody", () => {
  const room = presence();
  const [ana, bo] = [room.connect("ana"), room.connect("bo")];
  ana.takeJson();
  bo.takeJson();
  room.send(ana, { type: "status", status: "busy" });
  room.send(ana, { type: "status", status: "busy" });
  room.advance(1000);
  room.send(ana, { type: "heartbeat" });
  for (const client of [ana, bo]) {
    assert.deepEqual(
      client.takeJson().map(({ type, user }) => [type, user.userId, user.status]),
      [["presence_update", "ana", "busy"]],
    );
  }
  const { users } = room.json({ path: "/list" });
  assert.equal(users[0].lastSeen, room.world.now);
});

test("a user is removed with the last socket, and comes back with the status if the connection was lost", () => {
  const room = presence();
  const bo = room.connect("bo");
  const [one, two] = [room.connect("ana"), room.connect("ana")];
  room.send(one, { type: "status", status: "away" });
  bo.takeJson();
  room.leave(one);
  assert.deepEqual(
    bo.takeJson().map(({ type, user }) => [type, user?.connections]),
    [["presence_update", 1]],
  );
  room.leave(two);
  assert.deepEqual(bo.takeJson(), [{ type: "presence_remove", userId: "ana" }]);
  const again = room.connect("ana");
  assert.equal(again.takeJson()[0].users[0].status, "away");
  room.leave(again, 1000);
  assert.equal(room.connect("ana").takeJson()[0].users[0].status, "online");
});

test("a lost status is kept for an hour", () => {
  const room = presence();
  const ana = room.connect("ana");
  room.send(ana, { type: "status", status: "away" });
  room.leave(ana);
  room.advance(61 * MINUTE);
  assert.equal(room.world.storage.size, 0);
  assert.equal(room.world.timers.size, 0);
});

test("after a restart users have time to come back, and are removed if they do not", () => {
  const room = presence();
  room.connect("ana");
  room.connect("bo");
  room.restart();
  room.advance(MINUTE);
  assert.equal(room.json({ path: "/list" }).users.length, 2);
  const bo = room.connect("bo");
  bo.takeJson();
  room.advance(3 * MINUTE);
  assert.deepEqual(bo.takeJson(), [{ type: "presence_remove", userId: "ana" }]);
  assert.deepEqual(
    room.json({ path: "/list" }).users.map((one: any) => one.userId),
    ["bo"],
  );
});

test("a list that is too long for one frame continues over HTTP", () => {
  const room = presence();
  for (let at = 0; at < 30; at++) {
    const entry = { name: "\u0001".repeat(10_000), status: "online", lastSeen: 0 };
    room.world.storage.set(`user:${String(at).padStart(3, "0")}`, `\x01${JSON.stringify(entry)}`);
  }
  const seen: string[] = [];
  let { users, next } = room.connect("ana").takeJson()[0];
  assert.equal(users[0].userId, "ana");
  for (let pages = 0; pages < 9; pages++) {
    seen.push(...users.map((one: any) => one.userId));
    if (next === undefined) break;
    ({ users, next } = room.json({ path: "/list", query: `after=${encodeURIComponent(next)}` }));
  }
  assert.equal(new Set(seen).size, 31);
});

test("a status is set over HTTP, and nothing changes for a user who is not listed", () => {
  const room = presence();
  const ana = room.connect("ana");
  ana.takeJson();
  const update = (body: string, user?: null) =>
    room.request({ path: "/update", body, ...(user === null ? { user } : {}) });
  assert.equal(update('{"status":"busy"}').text, '{"success":true}');
  assert.equal(update('{"type":"heartbeat"}').text, '{"success":true}');
  assert.deepEqual(
    ana.takeJson().map(({ user }) => user.status),
    ["busy"],
  );
  room.leave(ana, 1000);
  update('{"status":"away"}');
  assert.deepEqual(room.json({ path: "/list" }), { users: [] });
  assert.equal(update('{"status":"asleep"}').status, 400);
  assert.equal(update("{").status, 400);
  assert.equal(update("{}", null).status, 401);
  assert.equal(room.request({ path: "/other" }).status, 404);
});

test("errors have the codes of the protocol", () => {
  const room = presence();
  const ana = room.connect("ana");
  const code = (frame: string | object | Uint8Array) => {
    room.send(ana, frame);
    return ana.takeJson().at(-1).code;
  };
  assert.equal(code(new Uint8Array([1])), "not_text");
  assert.equal(code("heartbeat"), "bad_json");
  assert.equal(code({ type: "shout" }), "unknown_type");
  assert.equal(code({ status: "busy" }), "bad_message");
  assert.equal(code({ type: "status" }), "bad_message");
  assert.equal(code({ type: "status", status: "invisible" }), "bad_status");
});
