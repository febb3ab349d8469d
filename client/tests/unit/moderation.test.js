// @ts-check
import { describe, expect, test, vi } from "vitest";
import { HttpError } from "../../src/http.js";
import { errorOfAnswer } from "../../src/post-errors.js";
import { Timeline } from "../../src/timeline.js";
import { BASE_URL, codeOf, enter, history, knock, live, message, messages, seqs, storedAs } from "./chat-helpers.js";
import { FakeServer } from "./fake-server.js";
import { eventsOf, fakeFetch, pass, useFakeTime } from "./helpers.js";

useFakeTime();

/** @param {number} seq */
const deletion = (seq) => ({ id: `id ${seq}`, seq, by: "mo", at: 9_000 });

/** @param {number} seq */
const tombstone = (seq) => message(seq, { content: "", deleted: { by: "mo", at: 9_000 } });

/** @param {string} user @param {number} seconds */
const mute = (user, seconds) => ({ user, until: 1_000 * seconds, seconds, by: "mo" });

describe("a deleted message", () => {
  test("loses its content, and keeps its place", async () => {
    const { chat, network, received } = await enter(messages(1, 3));
    const lost = eventsOf(chat, "deleted");
    const before = chat.messages;
    network.last.say({ type: "deleted", ...deletion(2) });
    expect(chat.messages).toEqual([message(1), tombstone(2), message(3)]);
    expect(chat.messages).not.toBe(before);
    expect(lost).toEqual([{ message: tombstone(2) }]);
    network.last.say({ type: "deleted", ...deletion(2) });
    network.last.say({ type: "deleted", ...deletion(99) });
    expect([lost.length, received.length]).toEqual([1, 1]);
    network.last.say(live(message(4)));
    expect(seqs(chat)).toEqual([1, 2, 3, 4]);
  });

  test("is one after a reconnect, if it was deleted meanwhile", async () => {
    const { chat, lose, greet } = await enter(messages(1, 3));
    const lost = eventsOf(chat, "deleted");
    await lose();
    greet({ ...history([tombstone(4), message(5)], true), deleted: [deletion(1), deletion(4)] });
    expect(chat.messages).toEqual([tombstone(1), message(2), message(3), tombstone(4), message(5)]);
    expect(lost).toEqual([{ message: tombstone(1) }]);
  });

  test("is also recognised in a history that answers no `since`", async () => {
    const { chat, lose, greet } = await enter(messages(1, 3));
    await lose();
    greet(history([message(1), tombstone(2), message(3)]));
    expect(chat.messages).toEqual([message(1), tombstone(2), message(3)]);
  });

  test("has no content in a page that the server made before", async () => {
    const { chat, network } = await enter(messages(51, 60));
    /** @type {(response: Response) => void} */
    let answer = () => {};
    fakeFetch(() => new Promise((resolve) => (answer = resolve)));
    const loaded = chat.loadOlder();
    await pass(0);
    network.last.say({ type: "deleted", ...deletion(50) });
    answer(Response.json({ messages: messages(49, 50), hasMore: true }));
    expect(await loaded).toBe(2);
    expect(chat.messages.slice(0, 2)).toEqual([message(49), tombstone(50)]);
  });

  test("settles the pending message that it was", async () => {
    const { chat, network } = await enter([]);
    const sent = chat.send("rude");
    network.last.say(live({ ...storedAs(chat.pending[0], 1), content: "", deleted: { by: "mo", at: 9_000 } }));
    expect(await sent).toMatchObject({ content: "", deleted: { by: "mo" } });
    expect([chat.pending, chat.messages]).toMatchObject([[], [{ content: "" }]]);
  });

  test("is remembered, up to a limit", () => {
    const timeline = new Timeline();
    for (let seq = 1; seq <= 501; seq += 1) timeline.delete(deletion(seq));
    for (const { seq = 0 } of messages(1, 501)) timeline.add(message(seq));
    expect(timeline.messages.filter(({ deleted }) => deleted === undefined)).toEqual([message(1)]);
  });
});

describe("a chat over events", () => {
  test("resumes behind the last message of the stream", async () => {
    const server = new FakeServer();
    vi.stubGlobal("fetch", server.fetch);
    const { chat } = await knock({ credentials: () => ({ token: "abc" }), transport: "events" });
    server.stream.accept();
    server.stream.say(history(messages(1, 2)));
    await pass(0);
    const sent = chat.send("three");
    await pass(0);
    server.post.answer({
      status: 200,
      body: { success: true, message: message(3, { userId: "ana", ...server.post.body }) },
    });
    expect(await sent).toMatchObject({ seq: 3 });
    server.stream.end();
    await pass(0);
    await pass((chat.snapshot.retryAt ?? NaN) - Date.now());
    expect(server.stream.url.searchParams.get("since")).toBe("2");
    server.stream.accept();
    server.stream.say({ ...history([message(3)], true), deleted: [deletion(1)] });
    await pass(0);
    expect(chat.messages.slice(0, 2)).toEqual([tombstone(1), message(2)]);
    expect(seqs(chat)).toEqual([1, 2, 3]);
    chat.close();
  });
});

describe("a moderator", () => {
  test("deletes a message by its id and number, visibly at once", async () => {
    const fetch = fakeFetch(() => Response.json({ success: true, deleted: deletion(2) }));
    const { chat } = await enter(messages(1, 3), { credentials: () => ({ token: "abc" }) });
    await chat.deleteMessage("id 2");
    const [url, request] = fetch.mock.lastCall ?? [];
    expect(url).toBe(`${BASE_URL}/rooms/lobby/messages/id%202?seq=2`);
    expect(request?.method).toBe("DELETE");
    expect(new Headers(request?.headers).get("authorization")).toBe("Bearer abc");
    expect(chat.messages[1]).toEqual(tombstone(2));
  });

  test("mutes a user, and ends a mute", async () => {
    const fetch = fakeFetch(() => Response.json({ success: true, mute: mute("bo", 60) }));
    const { chat } = await enter();
    await chat.mute("bo", 60);
    await chat.mute("bo", 0);
    const calls = fetch.mock.calls.map(([url, request]) => [url, request?.method, request?.body]);
    expect(calls).toEqual([
      [`${BASE_URL}/rooms/lobby/mutes`, "POST", '{"user":"bo","seconds":60}'],
      [`${BASE_URL}/rooms/lobby/mutes`, "POST", '{"user":"bo","seconds":0}'],
    ]);
  });

  test("learns that the server refuses", async () => {
    fakeFetch(() => Response.json({ detail: "this needs `moderate`", permission: "moderate" }, { status: 403 }));
    const { chat } = await enter(messages(1, 3));
    const refused = expect.objectContaining({ status: 403, message: "this needs `moderate`" });
    await expect(chat.deleteMessage("id 2")).rejects.toEqual(refused);
    await expect(chat.mute("bo", 60)).rejects.toBeInstanceOf(HttpError);
    expect(chat.messages).toEqual(messages(1, 3));
  });

  test("may moderate while the server permits it", async () => {
    const { chat, network } = await enter();
    expect(chat.canModerate).toBe(false);
    network.last.say({ type: "permissions", permissions: ["read", "write", "moderate"] });
    expect(chat.canModerate).toBe(true);
    network.last.say({ type: "error", code: "forbidden", message: "no", permission: "moderate" });
    expect([chat.canModerate, chat.canWrite]).toEqual([false, true]);
  });
});

describe("a muted user", () => {
  /** @param {Partial<import("../../src/chat.js").ChatOptions>} [options] */
  const enterAsAna = (options) => enter([], { userId: "ana", ...options });

  test("cannot send until the mute ends by itself", async () => {
    const { chat, network } = await enterAsAna();
    const changes = eventsOf(chat, "muted");
    const now = Date.now();
    // The server's clock is of no importance.
    network.last.say({ type: "muted", ...mute("ana", 600), until: 5 });
    expect([chat.mutedUntil, chat.canWrite, changes.length]).toEqual([now + 600_000, false, 1]);
    const before = network.last.frames.length;
    expect(await codeOf(chat.send("hello"))).toBe("read-only");
    chat.notifyTyping();
    expect([chat.pending, network.last.frames.length]).toEqual([[], before]);
    await pass(599_999);
    expect(chat.canWrite).toBe(false);
    await pass(1);
    expect([chat.mutedUntil, chat.canWrite, changes.length]).toEqual([undefined, true, 2]);
  });

  test("may send when a moderator ends the mute", async () => {
    const { chat, network } = await enterAsAna();
    network.last.say({ type: "muted", ...mute("ana", 600) });
    network.last.say({ type: "muted", ...mute("bo", 0) });
    expect(chat.canWrite).toBe(false);
    network.last.say({ type: "muted", ...mute("ana", 0) });
    expect(chat.canWrite).toBe(true);
  });

  test("learns it from the first frame of each connection", async () => {
    const { chat, greet, lose } = await knock();
    greet({ ...history([]), muted: mute("ana", 60) });
    expect(chat.canWrite).toBe(false);
    await lose();
    greet(history([], true));
    expect(chat.mutedUntil).toBeUndefined();
  });

  test("learns it from a refusal, over a socket or by POST", async () => {
    const { chat, network } = await enter();
    const sent = codeOf(chat.send("hello"));
    const clientId = chat.pending[0]?.clientId;
    network.last.say({ type: "error", code: "muted", message: "no", clientId, until: 60_000, seconds: 60 });
    expect([await sent, chat.canWrite]).toEqual(["muted", false]);
    expect(chat.pending).toMatchObject([{ state: "failed" }]);
    const answer = { status: 403, body: { detail: "no", code: "muted", seconds: 60 } };
    expect(errorOfAnswer(answer, "c1")).toEqual({
      type: "error",
      code: "muted",
      message: "no",
      seconds: 60,
      clientId: "c1",
    });
    expect(errorOfAnswer({ status: 403, body: { permission: "write" } }).code).toBe("forbidden");
    expect(errorOfAnswer({ status: 403, body: { code: "muted", seconds: "60" } }).code).toBe("http_403");
  });

  test("cannot send as a moderator either, and may end the mute", async () => {
    const { chat, network } = await enterAsAna();
    network.last.say({ type: "permissions", permissions: ["read", "write", "moderate"] });
    network.last.say({ type: "muted", ...mute("ana", 600) });
    expect([chat.canWrite, chat.canModerate]).toEqual([false, true]);
    network.last.say({ type: "muted", ...mute("ana", 0) });
    expect(chat.canWrite).toBe(true);
  });

  test("is not shown typing", async () => {
    const { chat, network } = await enterAsAna();
    network.last.say({ type: "typing", userId: "bo", userName: "Bo" });
    network.last.say({ type: "muted", ...mute("bo", 600) });
    expect(chat.typing).toEqual([]);
  });
});
