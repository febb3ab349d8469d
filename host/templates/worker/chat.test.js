/** Tests the room through the real contract, in the real engine, without a network or a disk. */
import assert from "node:assert/strict";
import test from "node:test";

import { TestRoom } from "@dormouse/test";

/** A new, empty room. */
const chat = () => TestRoom.of("src/index.ts", { class: "ChatRoom" });

test("a line reaches present and later clients", () => {
  const room = chat();
  const [ana, bo] = [room.join("ana"), room.join("bo")];
  ana.sendText("hello");
  room.hibernate();
  bo.sendText("hi");
  const lines = [
    { by: "ana", text: "hello" },
    { by: "bo", text: "hi" },
  ];
  assert.deepEqual(ana.received(), lines);
  assert.deepEqual(bo.received(), lines);
  room.restart();
  assert.deepEqual(room.join("eve").received(), lines);
  assert.deepEqual(room.request().json(), lines);
});

test("an empty line is not kept", () => {
  const room = chat();
  const ana = room.join("ana");
  ana.sendText("");
  assert.deepEqual(ana.received(), []);
});
