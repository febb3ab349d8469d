/** Tests the room through the real contract, in the real engine, without a network or a disk. */
import assert from "node:assert/strict";
import test from "node:test";

import { TestRoom } from "@dormouse/test";

/** A new, empty room. */
const board = () => TestRoom.of("src/room.ts");

test("a pinned note reaches present and later clients", () => {
  const room = board();
  const [ana, bo] = [room.join("ana"), room.join("bo")];
  ana.send({ text: "milk" });
  room.hibernate();
  bo.send({ text: "bread" });
  const notes = [
    { by: "ana", text: "milk" },
    { by: "bo", text: "bread" },
  ];
  assert.deepEqual(ana.received(), notes);
  assert.deepEqual(bo.received(), notes);
  room.restart();
  assert.deepEqual(room.join("eve").received(), notes);
  assert.deepEqual(room.request({ path: "/messages" }).json(), notes);
});

test("an invalid note gets an error and is not stored", () => {
  const room = board();
  const [ana, bo] = [room.join("ana"), room.join("bo")];
  ana.sendText("milk");
  ana.send({ text: "" });
  assert.deepEqual(ana.received().map(({ code }) => code), ["bad_json", "bad_message"]);
  assert.deepEqual([bo.received(), room.storage()], [[], []]);
});
