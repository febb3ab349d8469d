import { Activity, act, useLayoutEffect } from "react";
import { describe, expect, test, vi } from "vitest";
import { type UseWebSocketOptions, useWebSocket } from "../../react/index.js";
import { FakeSocket } from "./fake-socket.js";
import { doing, frame, http, show, tick, use } from "./stage.js";

const URL = "wss://example.test/live";

/** The hook in a component, its newest socket open. */
async function opened(options: Partial<UseWebSocketOptions> = {}) {
  const used = use(useWebSocket, { url: URL, ...options });
  await tick();
  FakeSocket.last.accept();
  await frame();
  return used;
}

/** Callbacks that write down their calls, in order. */
function diary() {
  const calls: unknown[] = [];
  return {
    calls,
    onOpen: () => void calls.push("open"),
    onClose: (close: unknown) => void calls.push({ close }),
    onError: (error: Error) => void calls.push({ error: error.message }),
    onMessage: (data: unknown) => void calls.push({ message: data }),
  };
}

describe("connecting", () => {
  test("the state goes from connecting to open", async () => {
    const used = use(useWebSocket, { url: URL });
    await tick();
    expect(used.now).toMatchObject({ state: "connecting", isConnected: false });
    FakeSocket.last.accept();
    expect(used.now).toMatchObject({ state: "open", isConnected: true });
    expect(FakeSocket.last.url).toBe(URL);
  });

  test("a path is an address on this page's own origin", async () => {
    use(useWebSocket, { url: "/live?x=1" });
    await tick();
    expect(FakeSocket.last.url).toBe(`${location.origin.replace("http", "ws")}/live?x=1`);
  });

  test.each([null, undefined])("an address of %s opens nothing and takes nothing", async (url) => {
    const used = use(useWebSocket, { url });
    await tick(60_000);
    expect(FakeSocket.all).toEqual([]);
    expect(used.now.state).toBe("closed");
    expect(used.now.send("lost")).toBe("rejected");
    used.now.connect();
    used.now.disconnect();
    await tick();
    expect(FakeSocket.all).toEqual([]);
  });

  test("another address closes the old socket and opens a new one", async () => {
    const used = await opened();
    const old = FakeSocket.last;
    used.again({ url: "wss://example.test/other" });
    await tick();
    expect(FakeSocket.all.map(({ url }) => url)).toEqual([URL, "wss://example.test/other"]);
    expect(old.closedWith?.code).toBe(1000);
    expect(used.now.state).toBe("connecting");
    FakeSocket.last.accept();
    expect(used.now.state).toBe("open");
    used.now.send("to the new one");
    expect(FakeSocket.all.map(({ sent }) => sent)).toEqual([[], ["to the new one"]]);
    await doing(() => used.now.disconnect());
    expect(FakeSocket.living).toEqual([]);
  });

  test("the same address as another object is the same address", async () => {
    const used = use(useWebSocket, { url: new globalThis.URL(URL) });
    await tick();
    used.again({ url: new globalThis.URL(URL) });
    await tick();
    expect(FakeSocket.all.length).toBe(1);
  });

  test("a removed address closes the socket, and a new one opens one", async () => {
    const used = await opened();
    used.again({ url: null });
    await tick();
    expect(FakeSocket.living).toEqual([]);
    expect(used.now.state).toBe("closed");
    used.again({ url: URL });
    await tick();
    expect(FakeSocket.living.length).toBe(1);
  });

  test("an invalid URL is closed for good, with an error", async () => {
    const { calls, ...callbacks } = diary();
    const used = use(useWebSocket, { url: "ftp://example.test", ...callbacks });
    await tick(60_000);
    expect(used.now.state).toBe("closed");
    expect(calls).toEqual([
      { error: expect.stringContaining("ftp://example.test") },
      { close: { code: 1008, reason: expect.stringContaining("ftp://example.test") } },
    ]);
  });
});

describe("rendering again", () => {
  test("inline callbacks do not reconnect; the newest is called", async () => {
    const received: string[] = [];
    const callbacks = (render: number) => ({
      url: URL,
      onOpen: () => void received.push(`open ${render}`),
      onMessage: (data: unknown) => void received.push(`message ${data} ${render}`),
      onError: () => void received.push(`error ${render}`),
      onClose: () => void received.push(`close ${render}`),
      credentials: () => {
        received.push(`credentials ${render}`);
        return {};
      },
    });
    const used = use(useWebSocket, callbacks(0));
    await tick();
    used.again(callbacks(1));
    FakeSocket.last.accept();
    used.again(callbacks(2));
    FakeSocket.last.receive("1");
    for (let render = 3; render < 50; render += 1) used.again(callbacks(render));
    await tick();
    expect(FakeSocket.all.length).toBe(1);
    FakeSocket.last.drop();
    used.again(callbacks(50));
    await tick(500);
    expect(received).toEqual(["credentials 0", "open 1", "message 1 2", "error 49", "close 49", "credentials 50"]);
  });

  test("send, connect and disconnect are the same in every render", async () => {
    const used = await opened();
    const { send, connect, disconnect } = used.now;
    used.again({ url: URL });
    expect(used.now).toMatchObject({ send, connect, disconnect });
    expect(used.now.send).toBe(send);
  });

  test("a message does not render", async () => {
    const used = await opened({ onMessage: () => {} });
    const before = used.renders;
    for (let count = 0; count < 10; count += 1) FakeSocket.last.receive("{}");
    await tick(100);
    expect(used.renders).toBe(before);
  });
});

describe("unmounting", () => {
  test("an open socket is closed without a callback", async () => {
    const { calls, ...callbacks } = diary();
    const used = await opened(callbacks);
    const socket = FakeSocket.last;
    calls.length = 0;
    used.unmount();
    expect(socket.readyState).toBe(1); // it may be mounted again within this task
    await tick();
    expect(socket.closedWith).toEqual({ code: 1000, reason: "" });
    await tick(10); // the close event
    expect(vi.getTimerCount()).toBe(0);
    await tick(120_000);
    expect(FakeSocket.all.length).toBe(1);
    expect(calls).toEqual([]);
  });

  test("an attempt is given up, and no callback runs", async () => {
    const { calls, ...callbacks } = diary();
    const used = use(useWebSocket, { url: URL, ...callbacks });
    await tick();
    used.unmount();
    await tick();
    expect(FakeSocket.last.readyState).toBe(2);
    await tick(10);
    expect(vi.getTimerCount()).toBe(0);
    await tick(120_000);
    expect(FakeSocket.all.length).toBe(1);
    expect(calls).toEqual([]);
  });

  test("late credentials open no socket", async () => {
    let give = (_: object) => {};
    const used = use(useWebSocket, { url: URL, credentials: () => new Promise<{}>((resolve) => (give = resolve)) });
    await tick();
    used.unmount();
    await tick();
    give({});
    await tick(120_000);
    expect(FakeSocket.all).toEqual([]);
  });

  test("a waiting socket does not reconnect, and calls nothing", async () => {
    const { calls, ...callbacks } = diary();
    const used = await opened(callbacks);
    FakeSocket.last.drop();
    expect(used.now.state).toBe("waiting");
    calls.length = 0;
    used.unmount();
    await tick();
    expect(vi.getTimerCount()).toBe(0);
    await tick(120_000);
    expect(FakeSocket.all.length).toBe(1);
    expect(calls).toEqual([]);
  });

  test("messages between unmounting and close are ignored", async () => {
    const { calls, ...callbacks } = diary();
    const used = await opened(callbacks);
    calls.length = 0;
    used.unmount();
    FakeSocket.last.receive("1");
    FakeSocket.last.drop(1011);
    await tick(120_000);
    expect(calls).toEqual([]);
    expect(FakeSocket.all.length).toBe(1);
  });

  test("a kept connect function opens nothing after unmounting", async () => {
    const used = await opened();
    const { connect } = used.now;
    used.unmount();
    await tick(50);
    connect();
    await tick();
    expect(FakeSocket.living).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("effects that run twice", () => {
  test("StrictMode dials once, and the socket stays open", async () => {
    const { calls, ...callbacks } = diary();
    const used = use(useWebSocket, { url: URL, ...callbacks }, { strict: true });
    await tick();
    FakeSocket.last.accept();
    FakeSocket.last.receive("1");
    await tick(5_000);
    expect(FakeSocket.all.length).toBe(1);
    expect(FakeSocket.last.readyState).toBe(1);
    expect(used.now.state).toBe("open");
    expect(calls).toEqual(["open", { message: 1 }]);
  });

  test("another address in StrictMode dials once more", async () => {
    const used = use(useWebSocket, { url: URL }, { strict: true });
    await tick();
    FakeSocket.last.accept();
    used.again({ url: "wss://example.test/other" });
    await tick(5_000);
    expect(FakeSocket.all.length).toBe(2);
    expect(FakeSocket.living.length).toBe(1);
  });

  function hideable(callbacks: Partial<UseWebSocketOptions> = {}) {
    let result: ReturnType<typeof useWebSocket>;
    function User() {
      result = useWebSocket({ url: URL, ...callbacks });
      return null;
    }
    const draw = (mode: "visible" | "hidden") => (
      <Activity mode={mode}>
        <User />
      </Activity>
    );
    const shown = show(draw("visible"));
    return {
      hide: () => shown.show(draw("hidden")),
      bringBack: () => shown.show(draw("visible")),
      get now() {
        return result;
      },
    };
  }

  test("hot reload keeps the socket and its messages", async () => {
    const { calls, ...callbacks } = diary();
    const user = hideable(callbacks);
    await tick();
    FakeSocket.last.accept();
    user.hide();
    user.bringBack();
    await tick(1_000);
    FakeSocket.last.receive("1");
    expect(FakeSocket.all.length).toBe(1);
    expect(FakeSocket.last.readyState).toBe(1);
    expect(calls).toEqual(["open", { message: 1 }]);
    FakeSocket.last.drop();
    expect(user.now.state).toBe("waiting");
  });

  test("hot reload during an attempt keeps the attempt", async () => {
    const user = hideable();
    await tick();
    user.hide();
    user.bringBack();
    await tick();
    FakeSocket.last.accept();
    expect(FakeSocket.all.length).toBe(1);
    expect(user.now.state).toBe("open");
  });

  test("a manual disconnect survives hot reload", async () => {
    const user = hideable();
    await tick();
    FakeSocket.last.accept();
    await doing(() => user.now.disconnect());
    user.hide();
    user.bringBack();
    await tick(60_000);
    expect(FakeSocket.all.length).toBe(1);
    expect(user.now.state).toBe("closed");
    await doing(() => user.now.connect());
    expect(FakeSocket.living.length).toBe(1);
  });

  test("a hidden component has no connection until shown again", async () => {
    const user = hideable();
    await tick();
    FakeSocket.last.accept();
    user.hide();
    await tick(10_000);
    expect(FakeSocket.living).toEqual([]);
    user.bringBack();
    await tick();
    FakeSocket.last.accept();
    expect(FakeSocket.all.length).toBe(2);
    expect(user.now.state).toBe("open");
  });

  test("a component hidden at first connects when it is shown", async () => {
    const user = hideable();
    user.hide();
    await tick(10_000);
    user.bringBack();
    await tick();
    FakeSocket.last.accept();
    expect(user.now.state).toBe("open");
  });
});

describe("reconnecting", () => {
  test("reconnects after at most half a second, then a second", async () => {
    const used = await opened();
    FakeSocket.last.drop();
    expect(used.now.state).toBe("waiting");
    await tick(499);
    expect(FakeSocket.all.length).toBe(1);
    await tick(1);
    expect(FakeSocket.all.length).toBe(2);
    FakeSocket.last.drop();
    await tick(999);
    expect(FakeSocket.all.length).toBe(2);
    await tick(1);
    expect(FakeSocket.all.length).toBe(3);
    expect(used.now.state).toBe("connecting");
  });

  test("reconnectInterval is the first wait; each failure doubles it", async () => {
    await opened({ reconnectInterval: 3_000 });
    FakeSocket.last.drop();
    await tick(2_999);
    expect(FakeSocket.all.length).toBe(1);
    await tick(1);
    expect(FakeSocket.all.length).toBe(2);
    FakeSocket.last.drop();
    await tick(5_999);
    expect(FakeSocket.all.length).toBe(2);
    await tick(1);
    expect(FakeSocket.all.length).toBe(3);
  });

  test("the wait is a random part", async () => {
    await opened({ reconnectInterval: 3_000 });
    vi.mocked(Math.random).mockReturnValue(0.1);
    FakeSocket.last.drop();
    await tick(299);
    expect(FakeSocket.all.length).toBe(1);
    await tick(1);
    expect(FakeSocket.all.length).toBe(2);
  });

  test("with reconnect={false} a lost connection waits for connect", async () => {
    const { calls, ...callbacks } = diary();
    const used = await opened({ reconnect: false, ...callbacks });
    FakeSocket.last.drop();
    await tick(120_000);
    expect(FakeSocket.all.length).toBe(1);
    expect(used.now.state).toBe("closed");
    expect(calls).toEqual(["open", { error: "the connection was lost" }, { close: { code: 1006, reason: "" } }]);
    await doing(() => used.now.connect());
    expect(FakeSocket.all.length).toBe(2);
  });

  test("changes of reconnect, reconnectInterval and probe apply", async () => {
    const used = await opened({ reconnect: false });
    used.again({ url: URL });
    await tick();
    FakeSocket.last.accept();
    used.again({ url: URL, reconnectInterval: 7_000 });
    await tick();
    FakeSocket.last.accept();
    used.again({ url: URL, reconnectInterval: 7_000, probe: false });
    await tick();
    FakeSocket.last.accept();
    expect(FakeSocket.living.length).toBe(1);
    await tick(60_000);
    expect(FakeSocket.last.sent).toEqual([]);
    const { length } = FakeSocket.all;
    FakeSocket.last.drop();
    await tick(6_999);
    expect(FakeSocket.all.length).toBe(length);
    await tick(1);
    expect(FakeSocket.all.length).toBe(length + 1);
  });

  test("credentials are called for each attempt, never in the URL", async () => {
    const credentials = vi.fn(({ refused }: { refused: boolean }) => ({ token: refused ? "fresh" : "stale" }));
    await opened({ credentials });
    expect(FakeSocket.last.url).toBe(URL);
    expect(FakeSocket.last.protocols).toEqual(["dormouse", "bearer.stale"]);
    FakeSocket.last.drop(4401, "expired");
    await tick();
    expect(credentials.mock.calls).toEqual([[{ refused: false }], [{ refused: true }]]);
    expect(FakeSocket.last.protocols).toEqual(["dormouse", "bearer.fresh"]);
  });

  test("credentials that are given first reconnect", async () => {
    const used = await opened();
    used.again({ url: URL, credentials: () => ({ token: "mine" }) });
    await tick();
    expect(FakeSocket.living.map(({ protocols }) => protocols)).toEqual([["dormouse", "bearer.mine"]]);
  });

  test("a silent server gets a ping, but not with probe={false}", async () => {
    await opened();
    const asked = FakeSocket.last;
    await opened({ probe: false });
    const spared = FakeSocket.last;
    await tick(20_000);
    expect(asked.sent).toEqual(['{"type":"ping"}']);
    expect(spared.sent).toEqual([]);
    await tick(60_000);
    expect(spared.readyState).toBe(1);
    expect(asked.readyState).not.toBe(1);
  });
});

describe("sending", () => {
  test("text and bytes are sent unchanged, the rest as JSON", async () => {
    const used = await opened();
    const bytes = new ArrayBuffer(3);
    for (const data of ["text", bytes, { a: [1] }, 7, null, [true]]) expect(used.now.send(data)).toBe("sent");
    expect(FakeSocket.last.sent).toEqual(["text", bytes, '{"a":[1]}', "7", "null", "[true]"]);
    expect(FakeSocket.last.sent[1]).toBe(bytes);
  });

  test("messages from before the opening precede those of onOpen", async () => {
    const used = use(useWebSocket, { url: URL, onOpen: () => void used.now.send("on open") });
    await tick();
    expect([1, 2, 3].map((word) => used.now.send({ word }))).toEqual(["queued", "queued", "queued"]);
    FakeSocket.last.accept();
    expect(FakeSocket.last.sent).toEqual(['{"word":1}', '{"word":2}', '{"word":3}', "on open"]);
  });

  test("messages sent while waiting leave once, after reconnecting", async () => {
    const used = await opened();
    FakeSocket.last.drop();
    expect(used.now.send("kept")).toBe("queued");
    await tick(500);
    FakeSocket.last.accept();
    expect(FakeSocket.all.map(({ sent }) => sent)).toEqual([[], ["kept"]]);
  });

  test("a hundred may wait, and one more is rejected", async () => {
    const used = use(useWebSocket, { url: URL });
    await tick();
    const answers = Array.from({ length: 101 }, (_, index) => used.now.send(index));
    expect(answers.slice(0, 100).every((answer) => answer === "queued")).toBe(true);
    expect(answers[100]).toBe("rejected");
    FakeSocket.last.accept();
    expect(FakeSocket.last.sent.length).toBe(100);
  });

  test("disconnecting rejects later messages and drops queued ones", async () => {
    const used = use(useWebSocket, { url: URL });
    await tick();
    used.now.send("too early");
    await doing(() => used.now.disconnect());
    expect(used.now.send("too late")).toBe("rejected");
    await doing(() => used.now.connect());
    FakeSocket.last.accept();
    expect(FakeSocket.last.sent).toEqual([]);
  });

  test("a value that is not JSON is rejected, not thrown", async () => {
    const circle: { self?: unknown } = {};
    circle.self = circle;
    const used = use(useWebSocket, { url: URL });
    await tick();
    for (const data of [undefined, () => {}, circle, 1n]) expect(used.now.send(data)).toBe("rejected");
    FakeSocket.last.accept();
    for (const data of [undefined, () => {}, circle, 1n]) expect(used.now.send(data)).toBe("rejected");
    expect(FakeSocket.last.sent).toEqual([]);
  });
});

describe("disconnecting", () => {
  test("disconnect closes for good, and connect comes back", async () => {
    const { calls, ...callbacks } = diary();
    const used = await opened(callbacks);
    await doing(() => used.now.disconnect());
    expect(used.now).toMatchObject({ state: "closed", isConnected: false });
    expect(FakeSocket.last.closedWith).toEqual({ code: 1000, reason: "" });
    await tick(120_000);
    expect(FakeSocket.all.length).toBe(1);
    await doing(() => used.now.connect());
    FakeSocket.last.accept();
    await frame();
    expect(used.now.state).toBe("open");
    expect(FakeSocket.all.length).toBe(2);
    expect(calls).toEqual(["open", { close: { code: 1000, reason: "" } }, "open"]);
  });

  test("a disconnect survives any number of renders", async () => {
    const used = await opened();
    await doing(() => used.now.disconnect());
    for (let count = 0; count < 5; count += 1) used.again({ url: URL, onMessage: () => {} });
    await tick(60_000);
    expect(FakeSocket.all.length).toBe(1);
    expect(used.now.state).toBe("closed");
  });

  test("a disconnect during an attempt ends it, without an error", async () => {
    const { calls, ...callbacks } = diary();
    const used = use(useWebSocket, { url: URL, ...callbacks });
    await tick();
    await doing(() => used.now.disconnect());
    expect(used.now.state).toBe("closed");
    expect(FakeSocket.last.readyState).toBe(2);
    await tick(120_000);
    expect(FakeSocket.all.length).toBe(1);
    expect(calls).toEqual([{ close: { code: 1000, reason: "" } }]);
  });

  test("a disconnect while waiting calls nothing", async () => {
    const { calls, ...callbacks } = diary();
    const used = await opened(callbacks);
    FakeSocket.last.drop(1001);
    calls.length = 0;
    await doing(() => used.now.disconnect());
    await tick(120_000);
    expect(calls).toEqual([]);
    expect(FakeSocket.all.length).toBe(1);
  });

  test("connect while connected changes nothing", async () => {
    const used = await opened();
    await doing(() => used.now.connect());
    await tick();
    expect(FakeSocket.all.length).toBe(1);
    expect(used.now.state).toBe("open");
  });

  test("connect in a layout effect makes no second attempt", async () => {
    function Eager() {
      const { connect } = useWebSocket({ url: URL });
      useLayoutEffect(() => connect(), [connect]);
      return null;
    }
    show(<Eager />);
    await tick(5_000);
    expect(FakeSocket.all.length).toBe(1);
  });

  test("a disconnect from onOpen is obeyed", async () => {
    const used = use(useWebSocket, { url: URL, onOpen: () => used.now.disconnect() });
    await tick();
    FakeSocket.last.accept();
    await tick(60_000);
    expect(used.now.state).toBe("closed");
    expect(FakeSocket.all.length).toBe(1);
    expect(FakeSocket.last.readyState).toBe(3);
  });
});

describe("callbacks run in the order of a browser", () => {
  test("a server that closes: close alone, with its words", async () => {
    const { calls, ...callbacks } = diary();
    await opened(callbacks);
    FakeSocket.last.drop(1011, "the room failed");
    expect(calls).toEqual(["open", { close: { code: 1011, reason: "the room failed" } }]);
  });

  test("a connection that breaks: error, then close", async () => {
    const { calls, ...callbacks } = diary();
    await opened(callbacks);
    FakeSocket.last.drop();
    expect(calls).toEqual(["open", { error: "the connection was lost" }, { close: { code: 1006, reason: "" } }]);
  });

  test("an attempt that fails: error, then close, and no open", async () => {
    const { calls, ...callbacks } = diary();
    use(useWebSocket, { url: URL, ...callbacks });
    await tick();
    FakeSocket.last.drop();
    await tick(500);
    FakeSocket.last.drop();
    const failure = [{ error: "the connection was lost" }, { close: { code: 1006, reason: "" } }];
    expect(calls).toEqual([...failure, ...failure]);
    expect(http).not.toHaveBeenCalled();
  });

  test("a slow attempt: error with the reason, then close", async () => {
    const { calls, ...callbacks } = diary();
    use(useWebSocket, { url: URL, ...callbacks });
    await tick(10_000);
    expect(calls).toEqual([
      { error: "did not open in time" },
      { close: { code: 1006, reason: "did not open in time" } },
    ]);
  });

  test("an expired token: close with its code, then open again", async () => {
    const { calls, ...callbacks } = diary();
    await opened({ credentials: ({ refused }) => ({ token: refused ? "fresh" : "stale" }), ...callbacks });
    FakeSocket.last.drop(4401, "expired");
    await tick();
    FakeSocket.last.accept();
    expect(calls).toEqual(["open", { close: expect.objectContaining({ code: 4401 }) }, "open"]);
  });

  test("a forbidden client: close with that code, once", async () => {
    const { calls, ...callbacks } = diary();
    const used = await opened(callbacks);
    FakeSocket.last.drop(4403, "kicked");
    await tick(120_000);
    expect(calls).toEqual(["open", { close: { code: 4403, reason: "kicked" } }]);
    expect(used.now.state).toBe("closed");
    expect(FakeSocket.all.length).toBe(1);
  });

  test("JSON is parsed, and other text and bytes come as they are", async () => {
    const { calls, ...callbacks } = diary();
    await opened(callbacks);
    const bytes = new ArrayBuffer(2);
    for (const data of ['{"a":[1]}', "7", "null", "no { JSON", "", bytes]) FakeSocket.last.receive(data);
    const messages = [{ a: [1] }, 7, null, "no { JSON", "", bytes];
    expect(calls).toEqual(["open", ...messages.map((data) => ({ message: data }))]);
    expect((calls.at(-1) as { message: unknown }).message).toBe(bytes);
  });

  test("a pong is not a message", async () => {
    const { calls, ...callbacks } = diary();
    await opened(callbacks);
    await tick(20_000);
    FakeSocket.last.receive('{"type":"pong"}');
    expect(calls).toEqual(["open"]);
  });

  test("callbacks may be missing", async () => {
    await opened();
    FakeSocket.last.receive("1");
    FakeSocket.last.drop();
    await tick(500);
    act(() => FakeSocket.last.onclose?.({ code: 4403, reason: "" }));
    expect(FakeSocket.all.length).toBe(2);
  });
});
