/** The room that `host/templates/room-typescript` begins with. Its own test, which is in the template, needs the engine. */
import assert from "node:assert/strict";
import test from "node:test";

import { exampleRoom } from "../../testing/outer/example.js";

test("the room of the template pins notes for present and later clients", () => {
  const room = exampleRoom("template");
  const [ana, bo] = [room.connect("ana"), room.connect("bo")];
  room.send(ana, { text: "milk" });
  room.hibernate();
  room.send(bo, { text: "" });
  assert.deepEqual(ana.takeJson(), [{ by: "ana", text: "milk" }]);
  assert.deepEqual(
    bo.takeJson().map(({ code }) => code),
    [undefined, "bad_message"],
  );
  room.restart();
  assert.deepEqual(room.connect("eve").takeJson(), [{ by: "ana", text: "milk" }]);
  assert.deepEqual(room.json(), [{ by: "ana", text: "milk" }]);
});
