// @ts-check
/** Several tabs of one user over event streams: one stream a room for all of them, and nothing is missed. */

import { beforeEach, describe, expect, test, vi } from "vitest";
import { Chat } from "../../src/chat.js";
import { Presence } from "../../src/presence.js";
import { RoomSocket } from "../../src/room-socket.js";
import { BASE_URL, codeOf, history, live, message, messages, seqs } from "./chat-helpers.js";
import { FakeServer } from "./fake-server.js";
import { fakeTabs } from "./fake-tabs.js";
import { eventsOf, fakePage, pass, useFakeTime } from "./helpers.js";

useFakeTime();

/** @type {ReturnType<typeof fakeTabs>} */
let tabs;
/** @type {FakeServer} */
let server;

beforeEach(() => {
  tabs = fakeTabs();
  server = new FakeServer();
  vi.stubGlobal("fetch", server.fetch);
});

const open = () => server.streams.filter(({ isOpen }) => isOpen);

/** @param {Partial<import("../../src/chat.js").ChatOptions>} [options] */
function tab(options) {
  const chat = new Chat({ baseUrl: BASE_URL, roomId: "lobby", transport: "events", userId: "ana", ...options });
  chat.open();
  return chat;
}

/** Opens the newest stream with this first message. @param {unknown} first */
async function greet(first) {
  await pass(0);
  server.stream.accept();
  server.stream.say(first);
  await pass(0);
}

/** Two tabs in a room with two messages; the first one leads. */
async function two() {
  const leader = tab();
  await greet(history(messages(1, 2)));
  const follower = tab();
  await greet(history(messages(1, 2)));
  const stream = /** @type {import("./fake-server.js").FakeStream} */ (open()[0]);
  return { leader, follower, stream };
}

describe("one stream", () => {
  test("serves all tabs of a user", async () => {
    const { leader, follower, stream } = await two();
    expect(server.streams).toHaveLength(2);
    expect(open()).toEqual([stream]);
    stream.say(live(message(3)));
    await pass(0);
    expect([seqs(leader), seqs(follower)]).toEqual([
      [1, 2, 3],
      [1, 2, 3],
    ]);
    expect([leader.snapshot, follower.snapshot]).toMatchObject(Array(2).fill({ state: "open", isUnshared: false }));
  });

  test("serves ten tabs, and there are never more than two at a time", async () => {
    const chats = [tab()];
    await greet(history(messages(1, 2)));
    for (let count = 1; count < 10; count += 1) chats.push(tab());
    for (let count = 1; count < 10; count += 1) {
      await pass(0);
      expect(open()).toHaveLength(2);
      await greet(history(messages(1, 2)));
    }
    expect(open()).toHaveLength(1);
    open()[0]?.say(live(message(3)));
    await pass(0);
    for (const chat of chats) expect(seqs(chat)).toEqual([1, 2, 3]);
  });

  test("is not shared with another user, room or server", async () => {
    tab();
    await greet(history([]));
    for (const other of [{ userId: "bo" }, { roomId: "kitchen" }, { baseUrl: "https://other.example/api" }]) {
      const chat = tab(other);
      await greet(history([]));
      expect(chat.state).toBe("open");
    }
    expect(open()).toHaveLength(4);
  });

  test("gives a joining tab every message of the meantime, once", async () => {
    tab();
    await greet(history(messages(1, 2)));
    const follower = tab();
    await pass(0);
    const [stream, own] = server.streams;
    stream?.say(live(message(3)));
    await pass(0);
    own?.accept();
    own?.say(history(messages(1, 3)));
    stream?.say(live(message(4)));
    await pass(0);
    expect(seqs(follower)).toEqual([1, 2, 3, 4]);
    expect(follower.state).toBe("open");
  });

  test("is awaited by a tab that joins while it opens", async () => {
    const leader = tab();
    await pass(0);
    const follower = tab();
    await pass(12_000 - 3_000);
    expect(server.streams).toHaveLength(1);
    await greet(history(messages(1, 2)));
    expect(server.streams).toHaveLength(2);
    await greet(history(messages(1, 2)));
    expect([leader.state, follower.state]).toEqual(["open", "open"]);
  });

  test("stays open only while every tab gets keep-alives", async () => {
    const { leader, follower, stream } = await two();
    for (let times = 0; times < 5; times += 1) {
      await pass(25_000);
      stream.ping();
      await pass(0);
    }
    expect([leader.state, follower.state]).toEqual(["open", "open"]);
    await pass(45_000);
    expect([leader.state, follower.state]).toEqual(["waiting", "waiting"]);
  });

  test("lets each tab post its own messages", async () => {
    const { leader, follower, stream } = await two();
    const stored = follower.send("hello");
    await pass(0);
    const { clientId } = server.post.body;
    const mine = message(3, { userId: "ana", content: "hello", clientId });
    server.post.answer({ status: 200, body: { success: true, message: mine } });
    stream.say(live(mine));
    await pass(0);
    expect(await codeOf(stored)).toBe("kept");
    expect([seqs(leader), seqs(follower)]).toEqual([
      [1, 2, 3],
      [1, 2, 3],
    ]);
  });

  test("is shared by presence as well", async () => {
    const arrive = () => {
      const presence = new Presence({ baseUrl: BASE_URL, userId: "ana", transport: "events" });
      presence.open();
      return presence;
    };
    const bo = { userId: "bo", userName: "Bo", status: "online", lastSeen: 1 };
    const leader = arrive();
    await greet({ type: "presence_list", users: [] });
    const follower = arrive();
    await greet({ type: "presence_list", users: [] });
    open()[0]?.say({ type: "presence_update", user: bo });
    await pass(0);
    expect([leader.users, follower.users]).toEqual([[bo], [bo]]);
    expect(open()).toHaveLength(1);
  });
});

describe("when the leading tab", () => {
  test("closes, the next one continues, and no tab misses a message", async () => {
    const { leader, follower } = await two();
    const third = tab();
    await greet(history(messages(1, 2)));
    const states = [follower, third].map((chat) => eventsOf(chat, "state"));
    leader.close();
    await pass(0);
    expect(server.stream.url.searchParams.get("since")).toBe("2");
    await greet(history(messages(3, 4), true));
    expect(seqs(follower)).toEqual([1, 2, 3, 4]);
    // The third tab fetches what was sent between the two streams over its own stream.
    expect(server.streams).toHaveLength(5);
    expect(open()).toHaveLength(2);
    expect(server.stream.url.searchParams.get("since")).toBe("2");
    await greet(history(messages(3, 4), true));
    expect(seqs(third)).toEqual([1, 2, 3, 4]);
    expect(open()).toHaveLength(1);
    open()[0]?.say(live(message(5)));
    await pass(0);
    expect([seqs(follower), seqs(third)]).toEqual([
      [1, 2, 3, 4, 5],
      [1, 2, 3, 4, 5],
    ]);
    // No tab has seen any of it.
    expect(states).toEqual([[], []]);
  });

  test("closes while the next one opens, that one leads", async () => {
    const leader = tab();
    await greet(history(messages(1, 2)));
    const follower = tab();
    await pass(0);
    leader.close();
    await greet(history(messages(1, 2)));
    expect(follower.state).toBe("open");
    expect(open()).toHaveLength(1);
    expect(tabs.locks.held("first message")).toBe(0);
    const third = tab();
    await greet(history(messages(1, 2)));
    expect(third.state).toBe("open");
  });

  test("receives a close, all tabs wait as hinted", async () => {
    const { leader, follower, stream } = await two();
    stream.bye(1001, "retry-after=2");
    await pass(0);
    expect([leader.snapshot, follower.snapshot]).toMatchObject(
      Array(2).fill({ state: "waiting", close: { code: 1001 }, retryAt: Date.now() + 2_000 }),
    );
    await pass(2_000);
    await greet(history([], true));
    await greet(history([], true));
    expect([leader.state, follower.state]).toEqual(["open", "open"]);
    expect(open()).toHaveLength(1);
  });

  test("has an expired token, only that tab needs a new one", async () => {
    const { follower, stream } = await two();
    stream.bye(4401, "expired");
    await pass(0);
    expect(follower.snapshot).toMatchObject({ state: "waiting", close: { code: 1006 } });
  });

  test("is frozen, another one leads after ten seconds", async () => {
    tab();
    await greet(history(messages(1, 2)));
    // It keeps its lock and sends nothing.
    const follower = tab();
    await pass(0);
    follower.close();
    tabs.words.length = 0;
    const frozen = BroadcastChannel;
    vi.stubGlobal(
      "BroadcastChannel",
      class extends frozen {
        /** @param {string} name */
        constructor(name) {
          super(`${name} thawed`);
        }
      },
    );
    const third = tab();
    await pass(9_999);
    expect(third.state).toBe("connecting");
    await pass(1);
    await greet(history(messages(1, 2)));
    expect(third.state).toBe("open");
    expect(open()).toHaveLength(1);
  });
});

describe("a page that is visible again", () => {
  test("asks the leading tab, which asks the server", async () => {
    const page = fakePage();
    const { leader, follower } = await two();
    page.becomes("visible");
    await pass(45_000 - 1);
    expect(server.gets).toHaveLength(1);
    expect([leader.state, follower.state]).toEqual(["open", "open"]);
  });

  test("detects for all tabs that the server is down", async () => {
    const page = fakePage();
    const { leader, follower } = await two();
    server.replies = "no network";
    page.becomes("visible");
    await pass(0);
    expect([leader.state, follower.state]).toEqual(["waiting", "waiting"]);
  });

  test("reconnects if the leading tab gives no answer in ten seconds", async () => {
    const page = fakePage();
    const { follower } = await two();
    vi.spyOn(BroadcastChannel.prototype, "postMessage").mockImplementation(() => {});
    page.becomes("visible");
    await pass(9_999);
    expect(follower.state).toBe("open");
    await pass(1);
    expect(follower.state).toBe("waiting");
  });
});

describe("connections", () => {
  test("are left for requests: a fifth room waits, and says why", async () => {
    const rooms = [];
    for (let count = 1; count <= 4; count += 1) {
      rooms.push(tab({ roomId: `room ${count}` }));
      await greet(history([]));
    }
    const fifth = tab({ roomId: "one too many" });
    await pass(0);
    expect(open()).toHaveLength(4);
    expect(fifth.snapshot).toMatchObject({
      state: "waiting",
      close: { reason: expect.stringMatching(/no connection left/) },
    });
    rooms[0]?.close();
    await pass(2_000);
    await greet(history([]));
    expect(fifth.state).toBe("open");
  });

  test("are not limited over HTTP/2", async () => {
    const entry = { name: `${BASE_URL}/rooms/lobby/messages`, nextHopProtocol: "h2" };
    vi.spyOn(performance, "getEntriesByType").mockReturnValue([/** @type {any} */ (entry)]);
    for (let count = 1; count <= 7; count += 1) {
      const chat = tab({ roomId: `room ${count}` });
      await greet(history([]));
      expect(chat.state).toBe("open");
    }
  });

  test("are released by a stream that ends or closes early", async () => {
    for (let times = 0; times < 9; times += 1) {
      const chat = tab({ roomId: `room ${times}` });
      await pass(0);
      if (times % 3 === 1) server.stream.fail();
      await pass(0);
      chat.close();
      await pass(0);
    }
    expect(tabs.locks.held("")).toBe(0);
  });
});

describe("a browser without", () => {
  test.each([
    ["locks", () => vi.stubGlobal("navigator", {})],
    ["channels", () => vi.stubGlobal("BroadcastChannel", undefined)],
  ])("%s reads a stream in each tab, and the state says so", async (_, without) => {
    without();
    for (let count = 0; count < 2; count += 1) {
      const chat = tab();
      const states = eventsOf(chat, "state");
      await greet(history([]));
      expect(chat.snapshot).toMatchObject({ state: "open", isUnshared: true });
      expect(states.at(-1)).toMatchObject({ state: "open", isUnshared: true });
    }
    expect(open()).toHaveLength(2);
  });

  test("a room that sends tabs different messages has a stream each", async () => {
    for (let count = 0; count < 2; count += 1) {
      const room = new RoomSocket({
        url: `${BASE_URL}/own/ws`,
        events: { url: `${BASE_URL}/own/events`, post: () => undefined, answered: () => {} },
        transport: "events",
      });
      room.open();
      await greet("hello");
      expect(room.snapshot).not.toHaveProperty("isUnshared");
    }
    expect(open()).toHaveLength(2);
  });
});

// The last test: this process uses no locks from then on.
test("a page that may not use locks has its own stream", async () => {
  vi.resetModules();
  const fresh = await import("../../src/chat.js");
  tabs.locks.areRefused = true;
  const chat = new fresh.Chat({ baseUrl: BASE_URL, roomId: "lobby", transport: "events", userId: "ana" });
  chat.open();
  await greet(history(messages(1, 2)));
  expect(chat.snapshot).toMatchObject({ state: "open", isUnshared: true });
  expect(seqs(/** @type {any} */ (chat))).toEqual([1, 2]);
});
