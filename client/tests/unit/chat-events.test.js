// @ts-check
/** A chat where WebSockets are blocked: it reads an event stream, and sends by POST. */

import { describe, expect, test, vi } from "vitest";
import { Chat } from "../../src/chat.js";
import { BASE_URL, codeOf, history, live, message, messages, seqs } from "./chat-helpers.js";
import { FakeServer } from "./fake-server.js";
import { fakeNetwork } from "./fake-socket.js";
import { eventsOf, pass, useFakeTime } from "./helpers.js";

useFakeTime();

/** @typedef {import("../../src/protocol.js").ChatMessage} ChatMessage */

/**
 * @param {ChatMessage[]} [present]
 * @param {Partial<import("../../src/chat.js").ChatOptions>} [options]
 */
async function enter(present = [], options) {
  const server = new FakeServer();
  vi.stubGlobal("fetch", server.fetch);
  const chat = new Chat({
    baseUrl: BASE_URL,
    roomId: "lobby",
    credentials: () => ({ token: "abc" }),
    transport: "events",
    ...options,
  });
  const received = eventsOf(chat, "messages");
  const errors = eventsOf(chat, "error");
  const stored = eventsOf(chat, "stored");
  chat.open();
  await pass(0);
  const greet = async (/** @type {unknown} */ frame) => {
    server.stream.accept();
    server.stream.say(frame);
    await pass(0);
  };
  await greet(history(present));
  received.length = 0;
  return {
    chat,
    server,
    received,
    errors,
    stored,
    greet,
    /** @param {unknown} frame */
    async receive(frame) {
      server.stream.say(frame);
      await pass(0);
    },
    /** @param {number} seq Of the stored form of the posted message. */
    made: (seq) => message(seq, { userId: "ana", userName: "Ana", ...server.post.body }),
    /** @param {ChatMessage} [stored] @param {number} [status] @param {unknown} [body] */
    async answer(stored, status = 200, body = { success: true, message: stored }) {
      server.post.answer({ status, body });
      await pass(0);
    },
    async lose() {
      server.stream.end();
      await pass(0);
      await pass((chat.snapshot.retryAt ?? NaN) - Date.now());
    },
  };
}

/** @param {FakeServer} server */
const posted = (server) => server.posts.map(({ body }) => body.content);

describe("a chat over events", () => {
  test("requests the room's stream, and reports its transport", async () => {
    const { chat, server } = await enter();
    expect(server.stream.url.href).toBe(`${BASE_URL}/rooms/lobby/events`);
    expect(chat).toMatchObject({ state: "open", transport: "events", hasHistory: true });
  });

  test("receives the same frames as over a WebSocket", async () => {
    const { chat, receive, received } = await enter(messages(1, 2));
    const joined = eventsOf(chat, "joined");
    await receive(live(message(3)));
    await receive({ type: "user_joined", userId: "cy", userName: "Cy", timestamp: 1 });
    await receive({ type: "typing", userId: "cy", userName: "Cy" });
    expect(seqs(chat)).toEqual([1, 2, 3]);
    expect(received).toMatchObject([{ from: "live" }]);
    expect(joined).toHaveLength(1);
    expect(chat.typing).toHaveLength(1);
  });

  test("resumes behind the last message that it has", async () => {
    const { chat, server, greet, lose } = await enter(messages(1, 3));
    await lose();
    expect(server.stream.url.search).toBe("?since=3");
    await greet(history([message(4)], true));
    expect(seqs(chat)).toEqual([1, 2, 3, 4]);
  });

  test("sends no typing notices", async () => {
    const { chat, server } = await enter();
    chat.notifyTyping();
    await pass(1_000);
    expect(server.posts).toEqual([]);
  });
});

describe("a message by POST", () => {
  test("goes to the room with its name, and is pending", async () => {
    const { chat, server } = await enter();
    chat.send("hello");
    await pass(0);
    expect(server.post.url.href).toBe(`${BASE_URL}/rooms/lobby/messages`);
    expect(server.post.headers).toMatchObject({ Authorization: "Bearer abc" });
    expect(server.post.body).toEqual({ content: "hello", clientId: chat.pending[0]?.clientId });
    expect(chat.pending[0]?.sentAt).toBeDefined();
  });

  test("is settled by the answer, and shown once", async () => {
    const { chat, made, answer, receive, received, stored } = await enter(messages(1, 2));
    const sent = chat.send("hello");
    await pass(0);
    const mine = made(3);
    await answer(mine);
    expect(await sent).toEqual(mine);
    expect(chat.pending).toEqual([]);
    expect(seqs(chat)).toEqual([1, 2, 3]);
    await receive(live(mine));
    expect(seqs(chat)).toEqual([1, 2, 3]);
    expect(received).toHaveLength(1);
    expect(stored).toHaveLength(1);
    expect(chat.userId).toBe("ana");
  });

  test("is settled by the stream if that is faster", async () => {
    const { chat, made, answer, receive, received } = await enter(messages(1, 2));
    const sent = chat.send("hello");
    await pass(0);
    const mine = made(3);
    await receive(live(mine));
    expect(await sent).toEqual(mine);
    await answer(mine);
    await pass(60_000);
    expect(received).toHaveLength(1);
    expect(chat.pending).toEqual([]);
  });

  test("whose answer overtakes earlier messages waits for the stream", async () => {
    const { chat, server, made, answer, receive, lose, greet } = await enter(messages(1, 2));
    chat.send("hello");
    await pass(0);
    const mine = made(5);
    await answer(mine);
    expect(seqs(chat)).toEqual([1, 2]);
    expect(chat.pending).toHaveLength(1);
    await receive(live(message(3)));
    await lose();
    expect(server.stream.url.search).toBe("?since=3");
    await greet(history([message(4), mine], true));
    expect(seqs(chat)).toEqual([1, 2, 3, 4, 5]);
    expect(chat.pending).toEqual([]);
    expect(posted(server)).toEqual(["hello"]);
  });

  test("whose echo never arrives fails in the end", async () => {
    const { chat, server, made, answer } = await enter(messages(1, 2));
    const sent = chat.send("hello");
    await pass(0);
    await answer(made(5));
    await pass(29_000);
    server.stream.ping();
    expect(chat.pending[0]?.state).toBe("pending");
    await pass(1_000);
    expect(await codeOf(sent)).toBe("timeout");
  });

  test("waits for the one before it", async () => {
    const { chat, server, made, answer } = await enter();
    for (const content of ["one", "two", "three"]) chat.send(content);
    await pass(0);
    for (const seq of [1, 2, 3]) {
      expect(server.posts).toHaveLength(seq);
      await answer(made(seq));
    }
    expect(posted(server)).toEqual(["one", "two", "three"]);
    expect(chat.messages.map(({ content }) => content)).toEqual(["one", "two", "three"]);
  });

  test("that waits long behind others does not fail for it", async () => {
    const { chat, server, made, answer } = await enter();
    const sends = Array.from({ length: 8 }, (_, index) => codeOf(chat.send(`${index}`)));
    await pass(0);
    for (let seq = 1; seq <= 8; seq += 1) {
      await pass(9_000);
      await answer(made(seq));
      server.stream.ping();
    }
    expect(await Promise.all(sends)).toEqual(Array(8).fill("kept"));
    expect(chat.messages).toHaveLength(8);
  });

  test("that the network lost is sent again and stored once", async () => {
    const { chat, server, made, answer } = await enter();
    chat.send("hello");
    await pass(0);
    server.post.fail();
    await pass(500);
    expect(server.posts).toHaveLength(2);
    expect(server.posts[0]?.body).toEqual(server.posts[1]?.body);
    await answer(made(1));
    expect(chat.messages).toHaveLength(1);
    expect(chat.pending).toEqual([]);
  });
});

describe("a message that is refused", () => {
  test.each([
    [400, { detail: "content must not be empty" }, "bad_message", "content must not be empty"],
    [413, { title: "Content Too Large" }, "too_long", "Content Too Large"],
    [422, { detail: "this clientId was used" }, "key_reused", "this clientId was used"],
    [429, undefined, "rate_limited", "the server answered 429"],
    [500, {}, "room_failed", "the server answered 500"],
    [403, null, "http_403", "the server answered 403"],
    [403, { detail: "no write here", permission: "write" }, "forbidden", "no write here"],
  ])("with %i fails by its name, and the next one goes on", async (status, problem, code, text) => {
    const { chat, server, answer, made, errors } = await enter();
    const first = chat.send("one");
    const second = chat.send("two");
    await pass(0);
    const { clientId } = server.post.body;
    await answer(undefined, status, problem);
    expect(await codeOf(first)).toBe(code);
    expect(errors).toEqual([{ type: "error", code, message: text, clientId }]);
    expect(chat.pending).toMatchObject([
      { clientId, state: "failed", error: { code, message: text } },
      { state: "pending" },
    ]);
    await answer(made(1));
    expect(await codeOf(second)).toBe("kept");
    expect(chat.state).toBe("open");
  });

  test("can be tried again, with the same name", async () => {
    const { chat, server, answer, made } = await enter();
    chat.send("one");
    await pass(0);
    await answer(undefined, 429, {});
    const again = chat.retry(chat.pending[0]?.clientId ?? "");
    await pass(0);
    expect(server.posts[1]?.body).toEqual(server.posts[0]?.body);
    await answer(made(1));
    expect(await codeOf(again)).toBe("kept");
  });
});

describe("a stream that is lost while messages are on their way", () => {
  test("messages of the history are settled, the rest sent again", async () => {
    const { chat, server, made, lose, greet } = await enter(messages(1, 1));
    for (const content of ["one", "two", "three"]) chat.send(content);
    await pass(0);
    const mine = made(2);
    await lose();
    await greet(history([mine], true));
    expect(posted(server)).toEqual(["one", "two"]);
    expect(chat.pending.map(({ content }) => content)).toEqual(["two", "three"]);
  });

  test("a late answer is ignored", async () => {
    const { chat, server, made, lose, greet } = await enter(messages(1, 1));
    chat.send("one");
    await pass(0);
    const late = server.post;
    const mine = made(2);
    await lose();
    late.answer({ status: 500 });
    await pass(0);
    expect(chat.pending).toMatchObject([{ state: "pending" }]);
    await greet(history([mine], true));
    expect(chat.pending).toEqual([]);
  });

  test("messages written meanwhile wait, and follow", async () => {
    const { chat, server, greet } = await enter();
    server.stream.bye(1001);
    await pass(0);
    chat.send("later");
    expect(chat.state).toBe("waiting");
    await pass(500);
    expect(server.posts).toEqual([]);
    await greet(history([], true));
    expect(posted(server)).toEqual(["later"]);
  });

  test("closing fails pending messages, as over a WebSocket", async () => {
    const { chat, server } = await enter();
    const sent = chat.send("one");
    await pass(0);
    chat.close();
    expect(await codeOf(sent)).toBe("closed");
    expect(server.stream.isAborted).toBe(true);
    expect(server.post.isAborted).toBe(false);
  });
});

test("messages beyond the limit fail at once and can be retried", async () => {
  const { chat } = await enter([], { pendingLimit: 1_000 });
  const sends = Array.from({ length: 200 }, () => chat.send("€".repeat(2_000)));
  await pass(0);
  const failed = chat.pending.filter(({ state }) => state === "failed");
  expect(failed.length).toBeGreaterThan(0);
  expect(failed.length).toBeLessThan(100);
  expect(await codeOf(/** @type {Promise<unknown>} */ (sends.at(-1)))).toBe("overflow");
});

test("messages written before a fallback are sent over events", async () => {
  const network = fakeNetwork();
  const server = new FakeServer();
  vi.stubGlobal("fetch", server.fetch);
  const chat = new Chat({ baseUrl: "https://blocked-chat.example", roomId: "lobby", WebSocket: network.WebSocket });
  chat.open();
  chat.send("early");
  await pass(0);
  network.last.drop();
  await pass(500);
  network.last.drop();
  await pass(0);
  expect(server.gets.map(({ url }) => url.href)).toEqual(["https://blocked-chat.example/rooms/lobby/messages?limit=1"]);
  server.stream.accept();
  server.stream.say(history([]));
  await pass(0);
  expect(chat).toMatchObject({ state: "open", transport: "events" });
  expect(posted(server)).toEqual(["early"]);
});

test.each([404, 502, 500])("status %i proves that the server answers only below 500", async (status) => {
  const network = fakeNetwork();
  const server = new FakeServer();
  vi.stubGlobal("fetch", server.fetch);
  server.replies = { status };
  const baseUrl = `https://blocked-chat-${status}.example`;
  const chat = new Chat({ baseUrl, roomId: "lobby", WebSocket: network.WebSocket });
  chat.open();
  await pass(0);
  network.last.drop();
  await pass(500);
  network.last.drop();
  await pass(0);
  expect(server.streams).toHaveLength(status < 500 ? 1 : 0);
});
