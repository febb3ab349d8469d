// @ts-check
/** When a socket falls back to an event stream, and when it does not. */

import { describe, expect, test, vi } from "vitest";
import { RoomSocket } from "../../src/room-socket.js";
import { FakeServer } from "./fake-server.js";
import { fakeNetwork } from "./fake-socket.js";
import { eventsOf, fakePage, pass, useFakeTime } from "./helpers.js";

useFakeTime();

/** @typedef {import("../../src/room-socket.js").RoomSocketOptions} RoomSocketOptions */

let servers = 0;

/** @returns {string} A new server for each test, because what is learned about a server lasts as long as the page. */
const newServer = () => `https://rooms-${(servers += 1)}.example`;

/** @param {Partial<RoomSocketOptions> & { origin?: string }} [options] */
async function opening({ origin = newServer(), ...options } = {}) {
  const server = new FakeServer();
  vi.stubGlobal("fetch", server.fetch);
  const network = fakeNetwork();
  const explain = vi.fn(async () => /** @type {import("../../src/close-codes.js").Close | undefined} */ (undefined));
  const room = new RoomSocket({
    url: `${origin}/lobby/ws`,
    events: {
      url: `${origin}/lobby/events`,
      post: (data) => ({ url: `${origin}/lobby/messages`, body: data }),
      answered: () => {},
    },
    explain,
    WebSocket: network.WebSocket,
    ...options,
  });
  const states = eventsOf(room, "state");
  const received = eventsOf(room, "message");
  room.open();
  await pass(0);
  return {
    room,
    server,
    network,
    explain,
    states,
    received,
    origin,
    /** Refuses the WebSocket and lets the wait pass. Returns whether another one is tried. */
    async refuse() {
      const before = network.sockets.length;
      network.last.drop();
      await pass(0);
      if (room.state === "waiting") await pass((room.snapshot.retryAt ?? NaN) - Date.now());
      return network.sockets.length > before;
    },
    async greet() {
      if (room.transport === "websocket") {
        network.last.accept();
        network.last.say("hello");
      } else {
        server.stream.accept();
        server.stream.say("hello");
      }
      await pass(0);
    },
    /** How many of our connections are open. */
    get open() {
      return (
        network.sockets.filter(({ readyState }) => readyState < 2).length +
        server.streams.filter(({ isOpen }) => isOpen).length
      );
    },
  };
}

/** @param {Parameters<typeof opening>[0]} [options] A socket behind a proxy that refuses upgrades. */
async function blocked(options) {
  const all = await opening(options);
  await all.refuse();
  await all.refuse();
  await all.greet();
  return all;
}

describe("upgrades are refused although the server answers over HTTP", () => {
  test("the second refusal leads to an event stream at once", async () => {
    const { room, network, server, refuse, received, states, greet } = await opening();
    expect(await refuse()).toBe(true);
    expect(server.streams).toHaveLength(0);
    expect(await refuse()).toBe(false);
    expect(server.streams).toHaveLength(1);
    expect(room.state).toBe("connecting");
    await greet();
    expect(room).toMatchObject({ state: "open", transport: "events" });
    expect(received).toEqual(["hello"]);
    expect(states.map(({ state }) => state)).toEqual([
      "connecting",
      "waiting",
      "connecting",
      "waiting",
      "connecting",
      "open",
    ]);
    expect(network.sockets).toHaveLength(2);
  });

  test("queued and later messages are sent over it", async () => {
    const all = await opening();
    all.room.send("one");
    await all.refuse();
    await all.refuse();
    await all.greet();
    expect(all.server.post.body).toBe("one");
    expect(all.room.send("two")).toBe("sent");
    expect(all.room.bufferedAmount).toBe(6);
    all.server.post.answer({ status: 200 });
    await pass(0);
    expect(all.server.posts.map(({ body }) => body)).toEqual(["one", "two"]);
  });

  test("more than 1 MiB on its way is refused", async () => {
    const { room } = await blocked();
    expect(room.send("x".repeat(1024 * 1024))).toBe("sent");
    expect(room.send("x")).toBe("rejected");
  });

  test("no room tries an upgrade for five minutes", async () => {
    const { room, origin, server, network } = await blocked();
    server.stream.bye(1001);
    await pass(0);
    await pass((room.snapshot.retryAt ?? NaN) - Date.now());
    expect(server.streams).toHaveLength(2);
    expect(network.sockets).toHaveLength(2);
    const other = await opening({ origin });
    expect(other.network.sockets).toHaveLength(0);
    expect(other.room.transport).toBe("events");
  });

  test("another server is not affected", async () => {
    await blocked();
    expect((await opening()).room.transport).toBe("websocket");
  });

  test("after five minutes a reconnect tries a WebSocket again", async () => {
    const all = await blocked();
    for (let pings = 0; pings < 10; pings += 1) {
      await pass(30_000);
      all.server.stream.ping();
      await pass(0);
    }
    expect(all.room.state).toBe("open");
    expect(all.network.sockets).toHaveLength(2);
    all.server.stream.end();
    await pass(500);
    expect(all.network.sockets).toHaveLength(3);
    await all.greet();
    expect(all.room).toMatchObject({ state: "open", transport: "websocket" });
    expect((await opening({ origin: all.origin })).room.transport).toBe("websocket");
  });

  test("streams that open meanwhile do not put that off", async () => {
    const all = await blocked();
    for (let times = 0; times < 3; times += 1) {
      await pass(100_000 - (times ? 0 : 1_500));
      all.room.reconnect();
      await pass(0);
      if (times < 2) expect(all.room.transport).toBe("events");
      if (times < 2) await all.greet();
    }
    await pass(2_000);
    all.room.reconnect();
    await pass(0);
    expect(all.room.transport).toBe("websocket");
  });
});

describe("a proxy that swallows frames", () => {
  test("before the upgrade: after ten seconds a stream is tried", async () => {
    const { server, network } = await opening();
    await pass(9_999);
    expect(server.streams).toHaveLength(0);
    await pass(1);
    expect(server.streams).toHaveLength(1);
    expect(network.last.closedWith).toBeDefined();
  });

  test("after the upgrade: no first frame within ten seconds", async () => {
    const { room, server, network } = await opening();
    network.last.accept();
    await pass(9_999);
    expect(room.state).toBe("open");
    await pass(1);
    expect(server.streams).toHaveLength(1);
    expect(network.last.closedWith).toBeDefined();
  });

  test("and cuts the connection: after the second time", async () => {
    const { server, network } = await opening();
    for (let times = 0; times < 2; times += 1) {
      network.last.accept();
      network.last.drop();
      await pass(1_000);
    }
    expect(server.streams).toHaveLength(1);
  });

  test("of the stream too proves nothing: WebSocket comes next", async () => {
    const all = await opening();
    await all.refuse();
    await all.refuse();
    all.server.stream.accept();
    await pass(10_000);
    expect(all.room.state).toBe("waiting");
    expect(all.server.stream.isAborted).toBe(true);
    await pass((all.room.snapshot.retryAt ?? NaN) - Date.now());
    expect(all.room.transport).toBe("websocket");
    expect((await opening({ origin: all.origin })).room.transport).toBe("websocket");
  });
});

describe("it keeps using WebSockets", () => {
  test("if the server does not answer over HTTP either", async () => {
    const { server, explain, refuse } = await opening();
    explain.mockRejectedValue(new TypeError("no network"));
    for (let times = 0; times < 6; times += 1) expect(await refuse()).toBe(true);
    expect(explain).toHaveBeenCalledTimes(5);
    expect(server.streams).toHaveLength(0);
  });

  test.each([
    [4401, "closed"],
    [4403, "closed"],
    [1013, "waiting"],
    [4429, "waiting"],
  ])("where the server refuses us by %i", async (code, state) => {
    const { room, server, network, explain } = await opening();
    explain.mockResolvedValue({ code, reason: "" });
    network.last.drop();
    await pass(500);
    network.last.drop();
    await pass(0);
    expect(room.state).toBe(state);
    await pass(60_000);
    expect(server.streams).toHaveLength(0);
  });

  test.each([4401, 4403, 1013])("if a connection is closed with %i before any frame", async (code) => {
    const { server, network, explain } = await opening();
    network.last.accept();
    network.last.drop(code);
    await pass(0);
    network.sockets.at(-1)?.drop(code);
    await pass(5_000);
    expect(explain).not.toHaveBeenCalled();
    expect(server.streams).toHaveLength(0);
  });

  test("if the server of a working connection restarts slowly", async () => {
    const { server, network, explain, refuse, greet, room } = await opening();
    await greet();
    network.last.drop();
    await pass(500);
    explain.mockRejectedValue(new TypeError("no network"));
    for (let times = 0; times < 5; times += 1) expect(await refuse()).toBe(true);
    // The server is back between the attempt and the request.
    explain.mockResolvedValue(undefined);
    expect(await refuse()).toBe(true);
    await greet();
    expect(room.transport).toBe("websocket");
    expect(server.streams).toHaveLength(0);
  });

  test("if the network comes and goes", async () => {
    const { server, explain, refuse, greet, network } = await opening();
    await greet();
    network.last.drop();
    await pass(500);
    for (let times = 0; times < 6; times += 1) {
      if (times % 2) explain.mockResolvedValue(undefined);
      else explain.mockRejectedValue(new TypeError("no network"));
      await refuse();
    }
    expect(server.streams).toHaveLength(0);
  });

  test("if the transport is set to websocket", async () => {
    const { room, server, network, explain, refuse } = await opening({ transport: "websocket" });
    for (let times = 0; times < 5; times += 1) expect(await refuse()).toBe(true);
    expect(explain).toHaveBeenCalled();
    network.last.drop();
    await pass(0);
    expect(room.state).toBe("waiting");
    expect(server.streams).toHaveLength(0);
  });

  test("if no events are configured", async () => {
    const { server, refuse } = await opening({ events: undefined });
    for (let times = 0; times < 5; times += 1) expect(await refuse()).toBe(true);
    expect(server.streams).toHaveLength(0);
  });

  test("if the server has no event streams", async () => {
    const { room, server, refuse } = await opening();
    await refuse();
    await refuse();
    server.stream.answer({ status: 404 });
    await pass(0);
    expect(room.snapshot).toMatchObject({ state: "waiting", close: { code: 1006, reason: "HTTP 404" } });
    await pass((room.snapshot.retryAt ?? NaN) - Date.now());
    for (let times = 0; times < 4; times += 1) expect(await refuse()).toBe(true);
    expect(server.streams).toHaveLength(1);
  });
});

test("behind a new proxy it falls back after three refusals", async () => {
  const { room, server, network, refuse, greet } = await opening();
  await greet();
  network.last.drop();
  await pass(500);
  expect(await refuse()).toBe(true);
  expect(await refuse()).toBe(true);
  expect(server.streams).toHaveLength(0);
  expect(await refuse()).toBe(false);
  await greet();
  expect(room.transport).toBe("events");
  // From then on the blocked attempts count.
  vi.setSystemTime(Date.now() + 300_000);
  room.reconnect();
  await pass(0);
  expect(await refuse()).toBe(false);
  expect(room.transport).toBe("events");
});

test("closing and opening again starts without evidence", async () => {
  const { room, server, network, refuse, greet } = await opening();
  await refuse();
  await refuse();
  expect(room.transport).toBe("events");
  room.close();
  room.open();
  await pass(0);
  expect(room.transport).toBe("websocket");
  await greet();
  network.last.drop();
  await pass((room.snapshot.retryAt ?? NaN) - Date.now());
  for (let signs = 0; signs < 2; signs += 1) await refuse();
  room.close();
  room.open();
  await pass(0);
  for (let failures = 0; failures < 3; failures += 1) expect(await refuse()).toBe(true);
  expect(server.streams).toHaveLength(1);
});

describe("a stream at once", () => {
  test("where there are no WebSockets at all", async () => {
    vi.stubGlobal("WebSocket", undefined);
    const { room, server, greet } = await opening({ WebSocket: undefined });
    expect(server.streams).toHaveLength(1);
    await greet();
    expect(room.state).toBe("open");
  });

  test("if the transport is set to events, for ever", async () => {
    const { network, server } = await opening({ transport: "events" });
    for (let times = 1; times <= 4; times += 1) {
      expect(server.streams).toHaveLength(times);
      server.stream.answer({ status: 404 });
      await pass(0);
      await pass(2 ** times * 250);
    }
    expect(network.sockets).toHaveLength(0);
  });

  test("proves nothing about WebSockets", async () => {
    const { origin, greet } = await opening({ transport: "events" });
    await greet();
    expect((await opening({ origin })).room.transport).toBe("websocket");
  });
});

describe("never two connections at once:", () => {
  test("a hanging upgrade is closed before the stream is requested", async () => {
    const all = await opening();
    await pass(10_000);
    expect(all.server.streams).toHaveLength(1);
    expect(all.open).toBe(1);
  });

  test("reconnecting gives up the stream, and closing too", async () => {
    const all = await blocked();
    all.room.reconnect();
    await pass(0);
    expect(all.server.streams).toHaveLength(2);
    expect(all.open).toBe(1);
    all.room.close();
    await pass(10);
    expect(all.open).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("the next upgrade waits for the answer over HTTP", async () => {
    /** @type {(close: undefined) => void} */
    let answer = () => {};
    const all = await opening({ explain: () => new Promise((resolve) => (answer = resolve)) });
    await all.refuse();
    all.network.last.drop();
    await pass(9_999);
    expect(all.open).toBe(0);
    answer(undefined);
    await pass(0);
    expect(all.server.streams).toHaveLength(1);
    expect(all.open).toBe(1);
  });

  test("no answer within ten seconds means that the server is down", async () => {
    const all = await opening({ explain: () => new Promise(() => {}) });
    await all.refuse();
    all.network.last.drop();
    await pass(10_000);
    expect(all.network.sockets).toHaveLength(3);
    expect(all.room.transport).toBe("websocket");
  });

  test("an answer after a manual reconnect is ignored", async () => {
    /** @type {(close: undefined) => void} */
    let answer = () => {};
    const all = await opening({ explain: () => new Promise((resolve) => (answer = resolve)) });
    await all.refuse();
    all.network.last.drop();
    all.room.reconnect();
    answer(undefined);
    await pass(0);
    expect(all.server.streams).toHaveLength(0);
    expect(all.open).toBe(1);
  });
});

describe("a stream", () => {
  test("is requested with a token in a header or a ticket in the URL", async () => {
    const { server } = await blocked({ credentials: () => ({ token: "abc" }) });
    expect(server.stream.headers).toMatchObject({ Authorization: "Bearer abc" });
    expect(server.stream.url.search).toBe("");
    const other = await blocked({ credentials: () => ({ ticket: "t1" }) });
    expect(other.server.stream.url.search).toBe("?ticket=t1");
  });

  test("and its requests share a token, but each uses its own ticket", async () => {
    const token = vi.fn(() => ({ token: "abc" }));
    const one = await blocked({ credentials: token });
    one.room.send("x");
    await pass(0);
    expect(one.server.post.headers).toMatchObject({ Authorization: "Bearer abc" });
    expect(token).toHaveBeenCalledTimes(3);
    let count = 0;
    const other = await blocked({ credentials: () => ({ ticket: `t${(count += 1)}` }) });
    other.room.send("x");
    await pass(0);
    expect(other.server.stream.url.search).toBe("?ticket=t3");
    expect(other.server.post.url.search).toBe("?ticket=t4");
  });

  test("refused with 401 asks for fresh credentials", async () => {
    const credentials = vi.fn((/** @type {{ refused: boolean }} */ { refused }) => ({
      token: refused ? "new" : "old",
    }));
    const { server, network } = await blocked({ credentials });
    server.stream.bye(4401, "expired");
    await pass(0);
    expect(credentials).toHaveBeenLastCalledWith({ refused: true });
    expect(server.stream.headers).toMatchObject({ Authorization: "Bearer new" });
    server.stream.answer({ status: 401 });
    await pass(60_000);
    expect(server.streams).toHaveLength(2);
    expect(network.sockets).toHaveLength(2);
  });

  test("that is refused with 403 closes for good", async () => {
    const { room, server, refuse } = await opening();
    await refuse();
    await refuse();
    server.stream.answer({ status: 403 });
    await pass(60_000);
    expect(room.snapshot).toMatchObject({ state: "closed", close: { code: 4403 } });
  });

  test("whose POST is refused with 401 asks for fresh credentials", async () => {
    const credentials = vi.fn((/** @type {{ refused: boolean }} */ { refused }) => ({
      token: refused ? "new" : "old",
    }));
    const { room, server } = await blocked({ credentials });
    room.send("x");
    await pass(0);
    server.post.answer({ status: 401 });
    await pass(0);
    expect(server.streams.map(({ isOpen }) => isOpen)).toEqual([false, true]);
    expect(server.stream.headers).toMatchObject({ Authorization: "Bearer new" });
  });

  test("whose requests come to nothing is lost, and comes back", async () => {
    const { room, server } = await blocked();
    room.send("x");
    await pass(0);
    server.post.fail();
    for (let signs = 0; signs < 7 && room.state === "open"; signs += 1) {
      await pass(5_000);
      server.stream.ping();
      if (!server.post.isAnswered) server.post.fail();
      await pass(0);
    }
    expect(room.snapshot).toMatchObject({ state: "waiting", close: { code: 1006 } });
  });

  test("is probed when the page wakes", async () => {
    const page = fakePage();
    const { room } = await blocked();
    page.online();
    await pass(0);
    expect(room.state).toBe("open");
    vi.setSystemTime(Date.now() + 45_000);
    page.online();
    expect(room.state).toBe("waiting");
  });

  test("is lost at once if offline and without an answer", async () => {
    const page = fakePage();
    const { room, explain } = await blocked({ credentials: () => ({ token: "abc" }) });
    explain.mockRejectedValue(new TypeError("no network"));
    page.offline();
    await pass(0);
    expect(room.state).toBe("waiting");
    expect(explain).toHaveBeenLastCalledWith({ token: "abc" });
  });

  test("is not probed over HTTP without probe", async () => {
    const page = fakePage();
    const { explain } = await blocked({ probe: false });
    explain.mockClear();
    page.offline();
    page.online();
    await pass(0);
    expect(explain).not.toHaveBeenCalled();
  });

  test("that is silent proves nothing about pings", async () => {
    const all = await blocked();
    for (let times = 0; times < 3; times += 1) {
      await pass(45_000);
      await pass((all.room.snapshot.retryAt ?? NaN) - Date.now());
      await all.greet();
    }
    await pass(600_000);
    all.room.reconnect();
    await pass(0);
    await all.greet();
    expect(all.room.transport).toBe("websocket");
    await pass(20_000);
    expect(all.network.last.pings).toBe(1);
  });
});
