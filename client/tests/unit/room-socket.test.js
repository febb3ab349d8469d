// @ts-check
import { describe, expect, test, vi } from "vitest";
import { RoomSocket } from "../../src/room-socket.js";
import { fakeNetwork } from "./fake-socket.js";
import { fakePage, pass, reportedErrors, useFakeTime } from "./helpers.js";
import { connected, connecting, fail } from "./room-socket-helpers.js";

useFakeTime();

/** @param {{ state: string }[]} events */
const names = (events) => events.map(({ state }) => state);

describe("opening", () => {
  test("a socket is closed until it is opened, and dials nothing", async () => {
    const network = fakeNetwork();
    const room = new RoomSocket({ url: "wss://rooms.example/ws", WebSocket: network.WebSocket });
    await pass(60_000);
    expect(room.snapshot).toEqual({ state: "closed", previous: "closed", retryAt: undefined, close: undefined });
    expect(network.sockets).toEqual([]);
  });

  test("connecting, then open: each is emitted with the one before", async () => {
    const { room, network, states } = await connecting();
    expect(room.state).toBe("connecting");
    network.last.accept();
    expect(room.state).toBe("open");
    expect(states).toEqual([
      { state: "connecting", previous: "closed" },
      { state: "open", previous: "connecting" },
    ]);
  });

  test("opening twice dials once", async () => {
    const { room, network } = await connecting();
    room.open();
    network.last.accept();
    room.open();
    await pass(0);
    expect(network.sockets).toHaveLength(1);
  });

  test("http and https become ws and wss", async () => {
    const { network } = await connecting({ url: "https://rooms.example/lobby/ws" });
    expect(network.last.url).toBe("wss://rooms.example/lobby/ws");
    expect((await connecting({ url: new URL("http://rooms.example/ws") })).network.last.url).toBe(
      "ws://rooms.example/ws",
    );
  });

  test("a relative address belongs to the page", async () => {
    vi.stubGlobal("location", new URL("https://page.example/deep/"));
    expect((await connecting({ url: "/api/ws" })).network.last.url).toBe("wss://page.example/api/ws");
  });

  test("the address is asked for before each attempt", async () => {
    let attempts = 0;
    const { network } = await connecting({ url: () => `wss://rooms.example/?attempt=${(attempts += 1)}` });
    network.last.drop();
    await pass(500);
    expect(network.sockets.map(({ url }) => url)).toEqual([
      "wss://rooms.example/?attempt=1",
      "wss://rooms.example/?attempt=2",
    ]);
  });

  test("an invalid URL closes the socket for good", async () => {
    const { room, network, states } = await connecting({
      url: () => {
        throw new TypeError("no address");
      },
    });
    expect(room.snapshot).toMatchObject({ state: "closed", close: { code: 1008, reason: "TypeError: no address" } });
    await pass(60_000);
    expect(network.sockets).toEqual([]);
    expect(names(states)).toEqual(["connecting", "closed"]);
  });

  test("without a WebSocket the error names the option", async () => {
    vi.stubGlobal("WebSocket", undefined);
    const { room, states } = await connecting({ WebSocket: undefined });
    expect(room.snapshot).toMatchObject({
      state: "closed",
      close: { code: 1008, reason: expect.stringMatching(/pass one in the option `WebSocket`, such as .* `ws`/) },
    });
    expect(names(states)).toEqual(["connecting", "closed"]);
  });

  test("the global WebSocket is the default", async () => {
    const network = fakeNetwork();
    vi.stubGlobal("WebSocket", network.WebSocket);
    await connecting({ WebSocket: undefined });
    expect(network.sockets).toHaveLength(1);
  });
});

describe("receiving", () => {
  test("text and bytes are passed on unchanged", async () => {
    const { network, received } = await connected();
    const bytes = new Uint8Array([1, 2]).buffer;
    network.last.say("hello");
    network.last.say(bytes);
    expect(received).toEqual(["hello", bytes]);
    expect(network.last.binaryType).toBe("arraybuffer");
  });

  test("nothing is sent on a closing socket", async () => {
    const { room, network } = await connected();
    const given = vi.spyOn(network.last, "send");
    network.last.readyState = 2;
    expect(room.send("late")).toBe("sent");
    expect(given).not.toHaveBeenCalled();
  });

  test("a pong is not a message", async () => {
    const { network, received } = await connected();
    network.last.say('{"type":"pong"}');
    network.last.say('{"type": "pong"}');
    expect(received).toEqual(['{"type": "pong"}']);
  });

  test("a listener that throws stops no other and no socket", async () => {
    const errors = reportedErrors();
    const { room, network, states, received } = await connecting();
    const bad = () => {
      throw new Error("bad listener");
    };
    const [bads, late] = [[room.on("state", bad), room.on("message", bad)], vi.fn()];
    room.on("message", late);
    network.last.accept();
    network.last.say("hello");
    expect(room.send("hello")).toBe("sent");
    network.last.drop();
    await pass(500);
    expect(network.sockets).toHaveLength(2);
    expect(late).toHaveBeenCalledOnce();
    expect(received).toEqual(["hello"]);
    expect(names(states)).toEqual(["connecting", "open", "waiting", "connecting"]);
    expect(errors).toHaveLength(4);
    bads.forEach((take) => take());
  });
});

describe("closing", () => {
  test("while connecting, the attempt is given up", async () => {
    const { room, network, states } = await connecting();
    room.close();
    await pass(60_000);
    expect(network.last.readyState).toBe(3);
    expect(network.sockets).toHaveLength(1);
    expect(names(states)).toEqual(["connecting", "closed"]);
  });

  test("while credentials are awaited, nothing is dialled", async () => {
    /** @type {(credentials: {}) => void} */
    let give = () => {};
    const { room, network } = await connecting({ credentials: () => new Promise((resolve) => (give = resolve)) });
    room.close();
    give({});
    await pass(60_000);
    expect(network.sockets).toEqual([]);
    expect(room.state).toBe("closed");
  });

  test("an open socket sends the code and ignores later frames", async () => {
    const { room, network, states, received } = await connected();
    room.close(4000, "bye");
    network.last.say("too late");
    await pass(60_000);
    expect(network.last.closedWith).toEqual({ code: 4000, reason: "bye" });
    expect(received).toEqual([]);
    expect(network.sockets).toHaveLength(1);
    expect(states.at(-1)).toEqual({ state: "closed", previous: "open" });
  });

  test("a plain close is a normal one", async () => {
    const { room, network } = await connected();
    room.close();
    expect(network.last.closedWith).toEqual({ code: 1000, reason: "" });
  });

  test("while waiting, no further attempt is made", async () => {
    const { room, network, states } = await connected();
    network.last.drop();
    room.close();
    await pass(60_000);
    expect(network.sockets).toHaveLength(1);
    expect(states.at(-1)).toEqual({ state: "closed", previous: "waiting" });
  });

  test.each([5000, 999, 1001, 1006, 2999, 1000.5, NaN, Infinity, -1, /** @type {any} */ ("1000"), null])(
    "a code that no page may use, %s, changes nothing",
    async (code) => {
      const { room, network, states } = await connected();
      expect(() => room.close(code)).toThrow(RangeError);
      expect(names(states)).toEqual(["connecting", "open"]);
      expect(network.last.readyState).toBe(1);
      expect(room.send("still here")).toBe("sent");
      expect(network.last.sent).toEqual(["still here"]);
    },
  );

  test.each([
    ["x".repeat(124), "x".repeat(123)],
    ["é".repeat(62), "é".repeat(61)],
    [`x${"😀".repeat(31)}`, `x${"😀".repeat(30)}`],
    [`${"x".repeat(122)}é`, "x".repeat(122)],
    ["\ud83d", "\ufffd"],
    ["\ufeffbye", "\ufeffbye"],
    ["x".repeat(1_000_000), "x".repeat(123)],
  ])("a reason is cut to what a close can carry, after a character", async (reason, cut) => {
    const { room, network, states } = await connected();
    room.close(3000, reason);
    expect(network.last.closedWith).toEqual({ code: 3000, reason: cut });
    expect(states.at(-1)).toMatchObject({ state: "closed" });
    expect(room.send("late")).toBe("rejected");
  });

  test("a WebSocket whose close throws still closes the socket", async () => {
    const { room, network } = await connected();
    network.last.close = () => {
      throw new Error("not now");
    };
    expect(() => room.close()).toThrow("not now");
    expect(room.state).toBe("closed");
    expect(room.send("late")).toBe("rejected");
  });

  test("closing twice emits once", async () => {
    const { room, states } = await connected();
    room.close();
    room.close();
    expect(names(states)).toEqual(["connecting", "open", "closed"]);
  });

  test("no timer and no page listener is left", async () => {
    const page = fakePage();
    const { room } = await connected();
    expect(page.ears).toBe(4);
    room.close();
    await pass(10);
    expect([page.ears, vi.getTimerCount()]).toEqual([0, 0]);
  });

  test.each(["connecting", "open", "waiting"])(
    "a listener may close on hearing of %s, and closed it stays",
    async (state) => {
      const network = fakeNetwork();
      const room = new RoomSocket({ url: "wss://rooms.example/ws", WebSocket: network.WebSocket });
      room.on("state", (event) => event.state === state && room.close());
      room.open();
      await pass(0);
      network.sockets[0]?.accept();
      network.sockets[0]?.drop();
      await pass(60_000);
      expect(room.state).toBe("closed");
      expect(network.sockets).toHaveLength(state === "connecting" ? 0 : 1);
      expect(vi.getTimerCount()).toBe(0);
    },
  );

  test("opened again it starts with the first backoff", async () => {
    const credentials = vi.fn(() => ({ token: "same" }));
    const all = await connecting({ credentials });
    const { room, network } = all;
    for (let failures = 0; failures < 4; failures += 1) await fail(all);
    network.last.drop(4401);
    await pass(0);
    expect(room.state).toBe("closed");

    room.open();
    expect(room.snapshot).toEqual({
      state: "connecting",
      previous: "connecting",
      retryAt: undefined,
      close: undefined,
    });
    await pass(0);
    expect(credentials).toHaveBeenLastCalledWith({ refused: false });
    network.last.drop();
    expect((room.snapshot.retryAt ?? NaN) - Date.now()).toBe(500);
  });

  test("opened again at once it ignores the old connection's end", async () => {
    const { room, network } = await connected();
    room.close();
    room.open();
    await pass(0);
    network.last.accept();
    await pass(1_000);
    expect(network.sockets[0]?.readyState).toBe(3);
    expect(room.state).toBe("open");
    expect(network.sockets).toHaveLength(2);
  });
});

describe("reconnecting by hand", () => {
  test("while waiting, the next attempt is made now and once", async () => {
    const { room, network, states } = await connected();
    network.last.drop(1001, "retry-after=30");
    room.reconnect();
    await pass(0);
    expect(network.sockets).toHaveLength(2);
    network.last.accept();
    await pass(40_000 - 15_000);
    expect(network.sockets).toHaveLength(2);
    expect(names(states)).toEqual(["connecting", "open", "waiting", "connecting", "open"]);
  });

  test("while open, a new connection replaces the old one", async () => {
    const { room, network, states } = await connected();
    network.last.bufferedAmount = 7;
    room.reconnect();
    expect(room.bufferedAmount).toBe(0);
    await pass(0);
    expect(network.sockets[0]?.closedWith).toBeDefined();
    network.last.accept();
    await pass(1_000);
    expect(room.state).toBe("open");
    expect(names(states)).toEqual(["connecting", "open", "connecting", "open"]);
  });

  test("while connecting, a new attempt replaces the current one", async () => {
    const { room, network } = await connecting();
    room.reconnect();
    await pass(1_000);
    expect(network.sockets).toHaveLength(2);
    network.last.accept();
    expect(room.state).toBe("open");
  });

  test("while closed, it opens, and watches the page", async () => {
    const page = fakePage();
    const { room, network } = await connected();
    room.close();
    room.reconnect();
    await pass(0);
    expect(network.sockets).toHaveLength(2);
    network.last.drop();
    page.online();
    expect(room.state).toBe("connecting");
  });
});

describe("with `reconnect: false`", () => {
  test("a lost connection is not opened again", async () => {
    const { room, network, states } = await connected({ reconnect: false });
    network.last.drop(1011, "the room failed");
    await pass(60_000);
    expect(network.sockets).toHaveLength(1);
    expect(room.snapshot.close).toEqual({ code: 1011, reason: "the room failed" });
    expect(names(states)).toEqual(["connecting", "open", "closed"]);
  });

  test("neither is one that did not open in time", async () => {
    const { room, network } = await connecting({ reconnect: false });
    await pass(10_000);
    expect(room.snapshot).toMatchObject({ state: "closed", close: { code: 1006, reason: "did not open in time" } });
    expect(network.sockets).toHaveLength(1);
  });

  test("`open` tries again all the same", async () => {
    const { room, network } = await connected({ reconnect: false });
    network.last.drop();
    room.open();
    await pass(0);
    expect(network.sockets).toHaveLength(2);
  });
});
