// @ts-check
/** A server that breaks the protocol: the error is logged, the connection is closed, and nothing waits for ever. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Chat } from "../../src/chat.js";
import { Presence } from "../../src/presence.js";
import { dayOf, timeOf } from "../../src/view/days.js";
import { linesOf } from "../../src/view/lines.js";
import { BASE_URL, codeOf, enter, history, knock, live, message, messages, seqs, storedAs } from "./chat-helpers.js";
import { FakeServer } from "./fake-server.js";
import { fakeNetwork } from "./fake-socket.js";
import { eventsOf, pass, reportedErrors, useFakeTime } from "./helpers.js";
import { chance, spoil } from "./spoiled.js";

useFakeTime();

/** The errors on the console. @type {import("vitest").MockInstance} */
let log;

beforeEach(() => {
  log = vi.spyOn(console, "error").mockImplementation(() => {});
});

const bo = { userId: "bo", userName: "Bo" };
const ana = { ...bo, status: "online", lastSeen: 1_000 };

const MALFORMED_CHAT = [
  "",
  "hello",
  "{",
  "null",
  "[]",
  '{"type":7}',
  new ArrayBuffer(3),
  { type: "history" },
  { type: "history", messages: null },
  { type: "history", messages: {} },
  { type: "history", messages: [null] },
  { type: "history", messages: [{ ...message(3), id: undefined }] },
  { type: "history", messages: [], resumed: "yes" },
  { type: "message" },
  { type: "message", message: null },
  { type: "message", message: "text" },
  live({ ...message(3), userName: /** @type {any} */ (undefined) }),
  live({ ...message(3), content: /** @type {any} */ (7) }),
  live({ ...message(3), seq: 0 }),
  live({ ...message(3), seq: 2.5 }),
  live({ ...message(3), timestamp: 1e20 }),
  '{"type":"message","message":{"id":"a","userId":"b","userName":"B","content":"c","timestamp":1e999}}',
  { type: "user_joined", userId: "bo", timestamp: 1 },
  { type: "user_left", userName: "Bo", timestamp: 1 },
  { type: "typing", userId: "bo" },
  { type: "error", code: "no" },
  { type: "error", code: "no", message: {} },
];

const MALFORMED_PRESENCE = [
  "hello",
  { type: "presence_list" },
  { type: "presence_list", users: {} },
  { type: "presence_list", users: [null] },
  { type: "presence_list", users: [{ ...ana, userName: undefined }] },
  { type: "presence_list", users: [{ ...ana, status: "asleep" }] },
  { type: "presence_list", users: [{ ...ana, lastSeen: "now" }] },
  { type: "presence_update" },
  { type: "presence_update", user: { ...ana, connections: -1 } },
  { type: "presence_remove" },
  { type: "presence_remove", userId: null },
  { type: "error" },
];

/** @param {unknown} frame */
const asText = (frame) => (frame instanceof ArrayBuffer || typeof frame === "string" ? frame : JSON.stringify(frame));

/** @param {unknown[]} frames @returns {[string, unknown][]} */
const named = (frames) =>
  frames.map((frame) => [frame instanceof ArrayBuffer ? "bytes" : String(asText(frame)), frame]);

/** A chat over an event stream, in a room with two messages. */
async function listen() {
  const server = new FakeServer();
  vi.stubGlobal("fetch", server.fetch);
  const chat = new Chat({ baseUrl: BASE_URL, roomId: "lobby", transport: "events" });
  chat.open();
  await pass(0);
  server.stream.accept();
  server.stream.say(history(messages(1, 2)));
  await pass(0);
  return { chat, server };
}

/** @param {Partial<import("../../src/presence.js").PresenceOptions>} [options] */
async function arrive(options) {
  const network = fakeNetwork();
  const presence = new Presence({ baseUrl: BASE_URL, userId: "bo", WebSocket: network.WebSocket, ...options });
  presence.open();
  await pass(0);
  return { presence, network };
}

describe("a malformed frame", () => {
  test.each(named(MALFORMED_CHAT))("of a chat is logged, and the chat reconnects: %s", async (_, frame) => {
    const errors = reportedErrors();
    const { chat, network } = await enter(messages(1, 2));
    const stored = chat.send("kept");
    network.last.say(frame);
    expect(chat.snapshot).toMatchObject({ state: "waiting", close: { code: 1002 }, retryAt: Date.now() + 500 });
    expect(String(log.mock.calls)).toMatch(/^dormouse: lobby: protocol error: ./);
    await pass(500);
    expect(new URL(network.last.url).searchParams.get("since")).toBe("2");
    network.last.accept();
    network.last.say(history([], true));
    network.last.say(live(storedAs(chat.pending[0], 3)));
    expect(await codeOf(stored)).toBe("kept");
    expect(seqs(chat)).toEqual([1, 2, 3]);
    expect(errors).toEqual([]);
  });

  test.each(named(MALFORMED_PRESENCE))("of a presence is logged, and it reconnects: %s", async (_, frame) => {
    const errors = reportedErrors();
    const { presence, network } = await arrive();
    network.last.accept();
    network.last.say({ type: "presence_list", users: [ana] });
    network.last.say(frame);
    expect(presence.snapshot).toMatchObject({ state: "waiting", close: { code: 1002 } });
    expect(String(log.mock.calls)).toMatch(/^dormouse: presence global: protocol error: ./);
    expect(presence.users).toEqual([ana]);
    await pass(500);
    network.last.accept();
    network.last.say({ type: "presence_list", users: [] });
    expect(presence).toMatchObject({ state: "open", users: [] });
    expect(errors).toEqual([]);
  });

  test("over an event stream is as bad", async () => {
    const { chat, server } = await listen();
    server.stream.say({ type: "message", message: { seq: 3 } });
    await pass(0);
    expect(chat.snapshot).toMatchObject({ state: "waiting", close: { code: 1002 } });
    expect(server.stream.isAborted).toBe(true);
    await pass(500);
    expect(server.streams).toHaveLength(2);
  });

  test("is logged with its field, without the text of users", async () => {
    const { network } = await enter(messages(1, 2));
    const odd = /** @type {any} */ ({ secret: "words" });
    network.last.say(history([message(3), { ...message(4), content: odd }], true));
    expect(log.mock.calls).toEqual([
      [
        "dormouse: lobby: protocol error: messages[1].content must be a string, and the value that came is of type object",
      ],
    ]);
  });

  test("that comes again leads to longer and longer waits", async () => {
    const { chat, network } = await knock();
    const waits = [];
    for (let times = 0; times < 8; times += 1) {
      network.last.accept();
      network.last.say({ type: "history" });
      waits.push((chat.snapshot.retryAt ?? NaN) - Date.now());
      await pass(waits.at(-1) ?? 0);
    }
    expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  });
});

test("an optional field that is null counts as absent", async () => {
  const { chat, network } = await enter(messages(1, 2));
  const odd = /** @type {any} */ ({ clientId: null });
  network.last.say(live({ ...message(3), ...odd }));
  expect(chat.state).toBe("open");
  expect(chat.messages[2]).toEqual(message(3));
});

describe("a gap", () => {
  test("in live messages is filled by the next connection", async () => {
    const { chat, network, resyncs } = await enter(messages(1, 2));
    network.last.say(live(message(5)));
    expect(chat.snapshot).toMatchObject({ state: "waiting", close: { code: 1002 } });
    expect(seqs(chat)).toEqual([1, 2]);
    await pass(500);
    expect(new URL(network.last.url).searchParams.get("since")).toBe("2");
    network.last.accept();
    network.last.say(history(messages(3, 5), true));
    expect(seqs(chat)).toEqual([1, 2, 3, 4, 5]);
    expect(resyncs).toEqual([]);
  });

  test("over an event stream is filled too", async () => {
    const { chat, server } = await listen();
    server.stream.say(live(message(4)));
    await pass(500);
    expect(server.stream.url.searchParams.get("since")).toBe("2");
    server.stream.accept();
    server.stream.say(history(messages(3, 4), true));
    await pass(0);
    expect(seqs(chat)).toEqual([1, 2, 3, 4]);
  });

  test("before the first message of an empty room counts as well", async () => {
    const { chat, network } = await enter();
    network.last.say(live(message(2)));
    expect(chat.state).toBe("waiting");
    await pass(500);
    expect(new URL(network.last.url).searchParams.get("since")).toBe("0");
  });

  test("that a resumed history leaves starts the list again", async () => {
    const { chat, network, resyncs, lose } = await enter(messages(1, 2));
    await lose();
    network.last.accept();
    network.last.say(history(messages(5, 6), true));
    expect(seqs(chat)).toEqual([5, 6]);
    expect(resyncs).toHaveLength(1);
  });
});

describe("a room that sends no first frame", () => {
  test("is left after ten seconds; messages wait", async () => {
    const { chat, network } = await knock();
    network.last.accept();
    const stored = chat.send("hello");
    for (let seconds = 1; seconds < 10; seconds += 1) {
      await pass(1_000);
      network.last.say({ type: "typing", ...bo });
    }
    expect(chat.state).toBe("open");
    await pass(1_000);
    expect(chat.snapshot).toMatchObject({ state: "waiting", close: { code: 1002 } });
    await pass(500);
    network.last.accept();
    network.last.say(history([]));
    network.last.say(live(storedAs(chat.pending[0], 1)));
    expect(await codeOf(stored)).toBe("kept");
  });

  test("is left over an event stream too", async () => {
    const server = new FakeServer();
    vi.stubGlobal("fetch", server.fetch);
    const chat = new Chat({ baseUrl: BASE_URL, roomId: "lobby", transport: "events" });
    chat.open();
    await pass(0);
    server.stream.accept();
    server.stream.say({ type: "typing", ...bo });
    await pass(9_999);
    expect(chat.state).toBe("open");
    await pass(1);
    expect(chat.state).toBe("waiting");
  });

  test("is left by presence as well", async () => {
    const { presence, network } = await arrive();
    network.last.accept();
    network.last.say({ type: "presence_remove", userId: "eve" });
    await pass(10_000);
    expect(presence.snapshot).toMatchObject({ state: "waiting", close: { code: 1002 } });
  });

  test("leaves no timer behind when it is closed meanwhile", async () => {
    const { chat, network } = await knock();
    network.last.accept();
    chat.close();
    await pass(10);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("answers over HTTP", () => {
  test.each([null, {}, { messages: {} }, { messages: [{ seq: 1 }] }])(
    "older messages: %j is an error",
    async (body) => {
      const server = new FakeServer();
      vi.stubGlobal("fetch", server.fetch);
      server.replies = { status: 200, body };
      const { chat } = await enter(messages(5, 6));
      await expect(chat.loadOlder()).rejects.toMatchObject({ name: "ProtocolError" });
      expect(seqs(chat)).toEqual([5, 6]);
    },
  );

  test("a page that is not older adds no message", async () => {
    const server = new FakeServer();
    vi.stubGlobal("fetch", server.fetch);
    server.replies = { status: 200, body: { messages: [message(3), message(4), message(9)], hasMore: false } };
    const { chat } = await enter(messages(5, 6));
    expect(await chat.loadOlder()).toBe(2);
    expect(seqs(chat)).toEqual([3, 4, 5, 6]);
  });

  test.each([7, "text", { message: 7 }, { message: { seq: 3 } }])(
    "the answer to a message, %j: its echo is awaited for a time",
    async (body) => {
      const { chat, server } = await listen();
      const stored = chat.send("hello");
      await pass(0);
      server.post.answer({ status: 200, body });
      for (let seconds = 0; seconds < 30; seconds += 1) {
        await pass(1_000);
        server.stream.ping();
      }
      expect(await codeOf(stored)).toBe("timeout");
    },
  );

  test.each([null, 7, { detail: 7 }, { detail: { a: 1 }, title: [] }, []])(
    "a refusal, %j, is logged in words",
    async (body) => {
      const { chat, server } = await listen();
      const errors = eventsOf(chat, "error");
      const stored = chat.send("hello");
      await pass(0);
      server.post.answer({ status: 400, body });
      expect(await codeOf(stored)).toBe("bad_message");
      expect(errors).toMatchObject([{ message: "the server answered 400" }]);
    },
  );
});

describe("fuzz", () => {
  const seed = Number(process.env.FUZZ_SEED ?? 20);
  const rounds = Number(process.env.FUZZ_ROUNDS ?? 400);
  const timeout = 30_000 + 50 * rounds;

  const CHAT = [
    history(messages(1, 3), true),
    live(message(3, { clientId: "c" })),
    { type: "user_joined", ...bo, timestamp: 1 },
    { type: "user_left", ...bo, timestamp: 1 },
    { type: "typing", ...bo },
    { type: "error", code: "no", message: "no", clientId: "c" },
  ];
  const PRESENCE = [
    { type: "presence_list", users: [ana, { ...ana, userId: "cy", connections: 2 }] },
    { type: "presence_update", user: ana },
    { type: "presence_remove", userId: "bo" },
  ];

  /** Everything that a page would render. @param {Chat} chat */
  function draw(chat) {
    linesOf(chat, { userId: "ana", userName: "Ana" }, new Map());
    for (const { timestamp, userName, content } of chat.messages) {
      expect([timeOf(timestamp), dayOf(timestamp), userName, content]).not.toContain(undefined);
    }
    return chat.typing.map(({ userName }) => userName.length);
  }

  test(
    `a chat survives any frames on either transport (seed ${seed})`,
    async () => {
      const errors = reportedErrors();
      const random = chance(seed);
      for (let round = 0; round < rounds; round += 1) {
        const text = spoil(CHAT[round % CHAT.length], random);
        const isSocket = random() < 0.5;
        const over = isSocket ? await enter(messages(1, 2)) : await listen();
        const { chat } = over;
        const stored = chat.send("kept");
        await pass(0);
        const logged = log.mock.calls.length;
        if ("network" in over) over.network.last.say(text);
        else over.server.stream.say(text.replaceAll(/[\r\n]/g, " "));
        await pass(0);
        draw(chat);
        expect(["open", "waiting"], text).toContain(chat.state);
        if (chat.state === "waiting") expect(log.mock.calls.length, text).toBe(logged + 1);
        // Within the timeouts of a send and of a connection it is stored, or its author learns that it failed.
        chat.reconnect();
        await pass(0);
        /** @param {unknown} frame */
        const say = (frame) => ("network" in over ? over.network.last.say(frame) : over.server.stream.say(frame));
        if ("network" in over) over.network.last.accept();
        else over.server.stream.accept();
        say(history(messages(1, 4), false));
        await pass(0);
        const pending = chat.pending.find(({ state }) => state === "pending");
        if (pending) say(live(storedAs(pending, 5)));
        await pass(0);
        expect(chat.state, text).toBe("open");
        expect(await codeOf(stored), text).toMatch(pending ? "kept" : /./);
        draw(chat);
        chat.close();
        await pass(10);
      }
      expect(errors).toEqual([]);
    },
    timeout,
  );

  test(
    `a presence stays open or comes back (seed ${seed})`,
    async () => {
      const errors = reportedErrors();
      const random = chance(seed + 1);
      for (let round = 0; round < rounds; round += 1) {
        const { presence, network } = await arrive();
        network.last.accept();
        network.last.say({ type: "presence_list", users: [ana] });
        const text = spoil(PRESENCE[round % PRESENCE.length], random);
        const logged = log.mock.calls.length;
        network.last.say(text);
        // The removal of our own user is disputed by a new connection at once.
        expect(["open", "waiting", "connecting"], text).toContain(presence.state);
        if (presence.state === "waiting") expect(log.mock.calls.length, text).toBe(logged + 1);
        for (const user of presence.users) {
          expect([typeof user.userName, timeOf(user.lastSeen) === ""], text).toEqual(["string", false]);
        }
        presence.reconnect();
        await pass(0);
        network.last.accept();
        network.last.say({ type: "presence_list", users: [ana] });
        expect(presence, text).toMatchObject({ state: "open", users: [ana] });
        presence.close();
        await pass(10);
      }
      expect(errors).toEqual([]);
    },
    timeout,
  );
});

afterEach(() => {
  log.mockRestore();
});
