/** The chat room of `components/examples/durable-objects` speaks the wire protocol of `client/PROTOCOL.md`. */
import assert from "node:assert/strict";
import test from "node:test";

import { exampleRoom } from "../../testing/outer/example.js";
import type { Client } from "../../testing/outer/test-room.js";

const chat = () => exampleRoom("chat-room");

const types = (client: Client): string =>
  client
    .takeJson()
    .map(({ type }) => type)
    .join();

test("the first frame is the history, and a message goes to all with its number", () => {
  const room = chat();
  const [ana, bo] = [room.connect("ana"), room.connect("bo")];
  assert.equal(types(ana), "history,user_joined");
  room.send(ana, { type: "message", content: "hello", userId: "eve", clientId: "c1" });
  room.hibernate();
  room.send(bo, { type: "message", content: "hi" });
  const [history, first, second] = bo.takeJson();
  assert.deepEqual([history.messages, typeof history.incarnation], [[], "string"]);
  const { id, timestamp, ...message } = first.message;
  assert.deepEqual(message, { userId: "ana", userName: "ana", content: "hello", seq: 1, clientId: "c1" });
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
  assert.equal(timestamp, room.world.now);
  assert.deepEqual([second.message.seq, second.message.userId], [2, "bo"]);
  const contents = room
    .connect("cem")
    .takeJson()[0]
    .messages.map((one: any) => one.content);
  assert.deepEqual(contents, ["hello", "hi"]);
});

test("a user joins with the first socket and leaves with the last", () => {
  const room = chat();
  const bo = room.connect("bo");
  const [one, two] = [room.connect("ana"), room.connect("ana")];
  room.hibernate();
  room.leave(one, 1000);
  assert.equal(types(bo), "history,user_joined");
  room.leave(two);
  const [left] = bo.takeJson();
  assert.deepEqual(left, { type: "user_left", userId: "ana", userName: "ana", timestamp: room.world.now });
  assert.equal(types(two), "history"); // not of the own other socket
});

test("typing goes to the others, and a ping is answered without the room", () => {
  const room = chat();
  const [ana, bo] = [room.connect("ana"), room.connect("bo")];
  ana.takeJson();
  room.send(ana, { type: "typing" });
  room.hibernate();
  room.send(ana, '{"type":"ping"}');
  assert.equal(room.isAwake, false);
  room.send(ana, '{"type": "ping"}');
  assert.deepEqual(ana.takeJson(), [{ type: "pong" }, { type: "pong" }]);
  assert.deepEqual(bo.takeJson().at(-1), { type: "typing", userId: "ana", userName: "ana" });
});

test("a client resumes after the last message that it has seen", () => {
  const room = chat();
  const ana = room.connect("ana");
  for (let seq = 1; seq <= 60; seq++) room.send(ana, { type: "message", content: String(seq) });
  const { incarnation } = ana.takeJson()[0];
  const history = (query: string) => {
    const client = room.connect("bo", { query });
    const [{ resumed, messages }] = client.takeJson();
    room.leave(client);
    return [resumed, messages.length, messages[0]?.seq];
  };
  assert.deepEqual(history(""), [undefined, 50, 11]);
  assert.deepEqual(history("since=58"), [true, 2, 59]);
  assert.deepEqual(history(`since=60&incarnation=${incarnation}`), [true, 0, undefined]);
  assert.deepEqual(history("since=58&incarnation=other"), [false, 50, 11]);
  assert.deepEqual(history("since=61"), [false, 50, 11]);
  assert.throws(() => room.connect("bo", { query: "since=x" }), /since must be a whole number/);
});

test("a retry within ten minutes is stored once, and other content is refused", () => {
  const room = chat();
  const ana = room.connect("ana");
  const send = (content: string, clientId = "c1") => {
    room.send(ana, { type: "message", content, clientId });
    return ana.takeJson().at(-1);
  };
  const first = send("hello");
  room.hibernate();
  assert.deepEqual(send("hello"), first);
  assert.deepEqual([send("other").code, send("other").clientId], ["key_reused", "c1"]);
  const bo = room.connect("bo");
  bo.takeJson();
  room.send(bo, { type: "message", content: "hello", clientId: "c1" });
  assert.equal(bo.takeJson()[0].message.seq, 2);
  room.advance(10 * 60_000);
  assert.equal(send("hello").message.seq, 3);
  room.advance(60 * 60_000);
  assert.deepEqual(
    [...room.world.storage.keys()].filter((key) => key.startsWith("retry:")),
    [],
  );
  assert.equal(room.world.timers.size, 0);
});

test("content is cut to 2,000 units and never inside a surrogate pair", () => {
  const room = chat();
  const ana = room.connect("ana");
  const stored = (content: string) => {
    room.send(ana, { type: "message", content });
    return ana.takeJson().at(-1).message.content;
  };
  assert.equal(stored("é".repeat(2001)), "é".repeat(2000));
  assert.equal(stored(`${"a".repeat(1999)}🐭tail`), "a".repeat(1999));
  assert.equal(stored("a\ud83d b"), "a\ufffd b");
});

test("errors have the codes of the protocol and the clientId, and nothing is stored", () => {
  const room = chat();
  const ana = room.connect("ana");
  const code = (frame: string | object | Uint8Array) => {
    room.send(ana, frame);
    const { type, code, clientId } = ana.takeJson().at(-1);
    assert.equal(type, "error");
    return clientId === undefined ? code : `${code} ${clientId}`;
  };
  assert.equal(code(new Uint8Array([1])), "not_text");
  assert.equal(code("{"), "bad_json");
  assert.equal(code("[]"), "bad_json");
  assert.equal(code({ type: "delete", clientId: "c" }), "unknown_type c");
  assert.equal(code({ content: "x" }), "bad_message");
  assert.equal(code({ type: "message", clientId: "c" }), "bad_message c");
  assert.equal(code({ type: "message", content: " \n", clientId: "c" }), "empty_content c");
  assert.equal(code({ type: "message", content: "x", clientId: "" }), "bad_message");
  assert.equal(code({ type: "message", content: "x", clientId: "é".repeat(65) }), "bad_message");
  assert.equal(code({ type: "message", content: "x", clientId: "\ud800" }), "bad_message");
  assert.deepEqual(room.json({ path: "/messages" }), { messages: [] });
});

test("messages are listed in pages and posted over HTTP", () => {
  const room = chat();
  const bo = room.connect("bo");
  const post = (body: object, headers = {}) => room.json({ path: "/messages", body: JSON.stringify(body), headers });
  const posted = post({ content: "1", clientId: "c1" });
  assert.deepEqual([posted.success, posted.message.seq, bo.takeJson().at(-1).message.content], [true, 1, "1"]);
  const keyed = post({ content: "2" }, { "idempotency-key": '"k1"' });
  assert.deepEqual(post({ content: "2" }, { "idempotency-key": "k1" }), keyed);
  const reused = room.request({ path: "/messages", body: '{"content":"3"}', headers: { "idempotency-key": "k1" } });
  assert.deepEqual([reused.status, reused.headers["content-type"]], [422, "application/problem+json"]);
  assert.equal(bo.takeReceived().length, 1);
  for (let seq = 3; seq <= 120; seq++) post({ content: String(seq) });

  const page = (query?: string) => {
    const { messages, hasMore } = room.json({ path: "/messages", ...(query === undefined ? {} : { query }) });
    return [messages[0]?.seq, messages.at(-1)?.seq, hasMore];
  };
  assert.deepEqual(page(), [21, 120, undefined]);
  assert.deepEqual(page("limit=500"), [1, 120, false]);
  assert.deepEqual(page("before=3"), [1, 2, false]);
  assert.deepEqual(page("before=21&limit=5"), [16, 20, true]);
  assert.deepEqual(page("after=100&limit=5"), [101, 105, true]);
  assert.deepEqual(page("after=120"), [undefined, undefined, false]);
  for (const query of ["limit=0", "limit=501", "limit=x", "before=1&after=1", "after=-1"]) {
    assert.equal(room.request({ path: "/messages", query }).status, 400, query);
  }
  assert.equal(room.request({ path: "/other" }).status, 404);
  assert.equal(room.request({ path: "/messages", user: null }).status, 401);
});

test("long messages make short pages", () => {
  const room = chat();
  const content = "\u0001".repeat(2000); // 12,000 bytes as JSON
  for (let seq = 1; seq <= 100; seq++) room.request({ path: "/messages", body: JSON.stringify({ content }) });
  const { messages, hasMore } = room.json({ path: "/messages", query: "limit=500" });
  assert.ok(messages.length > 60 && messages.length < 100 && hasMore);
  assert.equal(messages.at(-1).seq, 100);
  const [history] = room.connect("bo", { query: "since=0" }).takeJson();
  assert.deepEqual([history.resumed, history.messages.length], [false, 50]);
});
