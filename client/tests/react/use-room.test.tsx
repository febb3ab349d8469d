import { Activity, Component, type ReactNode, StrictMode } from "react";
import { describe, expect, test, vi } from "vitest";
import { DormouseProvider, type Room, type UseRoomOptions, useRoom } from "../../react/index.js";
import { FakeSocket } from "./fake-socket.js";
import { doing, enter, frame, http, message, show, stored, tick, use } from "./stage.js";

const around = (child: ReactNode) => (
  <DormouseProvider credentials={() => ({ devToken: "1:Ana" })}>{child}</DormouseProvider>
);

interface In extends UseRoomOptions {
  roomId?: string | null | undefined;
}

const useIn = ({ roomId, ...options }: In) => useRoom(roomId, options);

/** In the garden, which holds these messages. */
async function entered({
  messages = [],
  ...options
}: UseRoomOptions & { messages?: Parameters<typeof enter>[0] } = {}) {
  const used = use(useIn, { roomId: "garden", ...options } as In, { around });
  await tick();
  const socket = enter(messages);
  await frame();
  return { used, socket };
}

/** The connection is lost, and the next one opens with this history. */
async function returned(messages: Parameters<typeof enter>[0] = []) {
  FakeSocket.last.drop();
  await tick(1_000);
  const socket = enter(messages, { resumed: true });
  await frame();
  return socket;
}

describe("entering", () => {
  test("shows the history, and then new messages", async () => {
    const used = use(useIn, { roomId: "garden" } as In, { around });
    await tick();
    expect(used.now).toMatchObject({ state: "connecting", isConnected: false, hasHistory: false, messages: [] });
    const socket = enter([message(1), message(2)]);
    await frame();
    expect(used.now).toMatchObject({
      state: "open",
      isConnected: true,
      hasHistory: true,
      hasOlder: false,
      userId: "1",
    });
    socket.receive({ type: "message", message: message(3) });
    await frame();
    expect(used.now.messages.map(({ seq }) => seq)).toEqual([1, 2, 3]);
  });

  test.each([null, undefined])("without a room (%s) there is no connection", async (roomId) => {
    const used = use(useIn, { roomId });
    await tick(60_000);
    expect(FakeSocket.all).toEqual([]);
    expect(used.now).toMatchObject({
      state: "closed",
      messages: [],
      pending: [],
      typingUsers: [],
      hasHistory: false,
      hasOlder: false,
    });
    await expect(used.now.send("hello")).rejects.toMatchObject({ name: "SendError", code: "not-connected" });
    await expect(used.now.retry("some")).rejects.toMatchObject({ code: "not-connected" });
    await expect(used.now.loadOlder()).resolves.toBe(0);
    used.now.discard("some");
    used.now.notifyTyping();
    used.now.reconnect();
    await tick();
    expect(FakeSocket.all).toEqual([]);
  });

  test("an ignored send without a room reports no error", async () => {
    const used = use(useIn, { roomId: null } as In);
    void used.now.send("hello");
    void used.now.retry("some");
    await tick(); // an unhandled rejection would fail the run
    expect(used.now.pending).toEqual([]);
  });

  test.each(["", "a/b", ".", "a".repeat(129), "line\nbreak"])("no room can be named %j", async (roomId) => {
    let caught: unknown;
    class Boundary extends Component<{ children: ReactNode }> {
      override state = { failed: false };
      static getDerivedStateFromError() {
        return { failed: true };
      }
      override componentDidCatch(error: unknown) {
        caught = error;
      }
      override render() {
        return this.state.failed ? null : this.props.children;
      }
    }
    function Lost() {
      useRoom(roomId);
      return null;
    }
    show(
      <Boundary>
        <Lost />
      </Boundary>,
    );
    vi.mocked(console.error).mockClear(); // React reports what a boundary caught
    expect(caught).toBeInstanceOf(TypeError);
    expect((caught as Error).message).toContain(JSON.stringify(roomId));
    expect(FakeSocket.all).toEqual([]);
  });

  test("another room ends the first one, and nothing of it is shown", async () => {
    const { used, socket } = await entered({ messages: [message(1)] });
    used.again({ roomId: "kitchen" });
    expect(used.now.messages).toEqual([]);
    expect(used.now.hasHistory).toBe(false);
    await tick();
    expect(socket.closedWith?.code).toBe(1000);
    expect(FakeSocket.living.map(({ path }) => path)).toEqual(["/api/realtime/rooms/kitchen/ws?token=1%3AAna"]);
    enter([message(7)]);
    await frame();
    expect(used.now.messages.map(({ seq }) => seq)).toEqual([7]);
  });

  test("changing the room to null closes it", async () => {
    const { used } = await entered({ messages: [message(1)] });
    used.again({ roomId: null });
    await tick();
    expect(FakeSocket.living).toEqual([]);
    expect(used.now).toMatchObject({ state: "closed", messages: [] });
  });

  test("changing the room and back in one task keeps the connection", async () => {
    const { used, socket } = await entered({ messages: [message(1)] });
    used.again({ roomId: "kitchen" });
    used.again({ roomId: "garden" });
    await tick(2_000);
    expect(FakeSocket.living).toEqual([socket]);
    expect(used.now.messages.length).toBe(1);
  });

  test("returning later opens a new connection", async () => {
    const { used } = await entered({ messages: [message(1)] });
    used.again({ roomId: null });
    await tick(10);
    used.again({ roomId: "garden" });
    await tick();
    expect(used.now.messages).toEqual([]);
    expect(FakeSocket.last.path).not.toContain("since");
  });

  test("the state has the close reason and the next attempt's time", async () => {
    const { used, socket } = await entered();
    socket.drop(1001, "retry-after=30");
    expect(used.now).toMatchObject({
      state: "waiting",
      isConnected: false,
      close: { code: 1001, reason: "retry-after=30" },
    });
    expect(used.now.retryAt).toBe(Date.now() + 30_000);
    await doing(() => used.now.reconnect());
    await frame();
    expect(used.now).toMatchObject({ state: "connecting", retryAt: undefined, close: undefined });
    expect(FakeSocket.all.length).toBe(2);
  });

  test("reconnect tries again after a refusal", async () => {
    const { used, socket } = await entered();
    socket.drop(4403, "kicked");
    expect(used.now).toMatchObject({ state: "closed", close: { code: 4403 } });
    await tick(120_000);
    expect(FakeSocket.all.length).toBe(1);
    await doing(() => used.now.reconnect());
    expect(FakeSocket.all.length).toBe(2);
  });
});

describe("sharing", () => {
  function inRooms(rooms: Record<string, string>, seen: Record<string, Room> = {}) {
    function User({ name, roomId }: { name: string; roomId: string }) {
      seen[name] = useRoom(roomId);
      return null;
    }
    return around(Object.entries(rooms).map(([name, roomId]) => <User key={name} name={name} roomId={roomId} />));
  }

  test("two components share a socket until the last unmounts", async () => {
    const seen: Record<string, Room> = {};
    const shown = show(inRooms({ one: "garden", two: "garden" }, seen));
    await tick();
    expect(FakeSocket.all.length).toBe(1);
    const socket = enter([message(1)]);
    await frame();
    expect(seen.one?.messages).toHaveLength(1);
    expect(seen.two?.messages).toBe(seen.one?.messages);
    shown.show(inRooms({ two: "garden" }, seen));
    await tick(5_000);
    expect(socket.readyState).toBe(1);
    shown.show(inRooms({}));
    await tick(20);
    expect(socket.readyState).toBe(3);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("two rooms have a socket each", async () => {
    show(inRooms({ one: "garden", two: "kitchen" }));
    await tick();
    expect(FakeSocket.all.map(({ path }) => path.split("?")[0])).toEqual([
      "/api/realtime/rooms/garden/ws",
      "/api/realtime/rooms/kitchen/ws",
    ]);
  });

  test("a component that mounts later shares socket and state", async () => {
    const seen: Record<string, Room> = {};
    const shown = show(inRooms({ one: "garden" }, seen));
    await tick();
    enter([message(1)]);
    await tick(5_000);
    shown.show(inRooms({ one: "garden", two: "garden" }, seen));
    expect(seen.two).toMatchObject({ state: "open", messages: [{ seq: 1 }] });
    await tick();
    expect(FakeSocket.living.length).toBe(1);
  });

  test("a component takes over from one that unmounts", async () => {
    const shown = show(inRooms({ one: "garden" }));
    await tick();
    const socket = enter();
    shown.show(inRooms({ two: "garden" }));
    await tick(5_000);
    expect(FakeSocket.living).toEqual([socket]);
  });

  test("StrictMode dials each room once", async () => {
    show(<StrictMode>{inRooms({ one: "garden", two: "garden", three: "kitchen" })}</StrictMode>);
    await tick(5_000);
    expect(FakeSocket.all.length).toBe(2);
    expect(FakeSocket.living.length).toBe(2);
  });

  /** A component that can be hidden, and a second one that may be mounted. */
  function hideable() {
    const seen: Record<string, Room> = {};
    function User({ name }: { name: string }) {
      seen[name] = useRoom("garden");
      return null;
    }
    const draw = (mode: "visible" | "hidden", isSecondHere: boolean) =>
      around(
        <>
          <Activity mode={mode}>
            <User name="one" />
          </Activity>
          {isSecondHere && <User name="two" />}
        </>,
      );
    const shown = show(draw("visible", false));
    return { seen, draw: (mode: "visible" | "hidden", isSecondHere: boolean) => shown.show(draw(mode, isSecondHere)) };
  }

  test("a component that is hidden and shown again resumes", async () => {
    const { seen, draw } = hideable();
    await tick();
    enter([message(1)]);
    draw("hidden", false);
    await tick(5_000);
    expect(FakeSocket.living).toEqual([]);
    draw("visible", false);
    await tick();
    expect(seen.one?.messages).toHaveLength(1);
    expect(FakeSocket.last.path).toContain("since=1");
  });

  test("a hidden component shown again shares with later ones", async () => {
    const { seen, draw } = hideable();
    await tick();
    enter([message(1)]);
    draw("hidden", false);
    await tick(5_000);
    draw("visible", false);
    await tick();
    enter([], { resumed: true });
    draw("visible", true);
    await tick(5_000);
    expect(FakeSocket.living).toHaveLength(1);
    expect(seen.two?.messages).toBe(seen.one?.messages);
  });

  test("a hidden component shown again shares with earlier ones", async () => {
    const { seen, draw } = hideable();
    await tick();
    enter([message(1)]);
    draw("hidden", false);
    await tick(5_000);
    draw("hidden", true);
    await tick();
    const socket = enter([message(1), message(2)]);
    draw("visible", true);
    await tick(5_000);
    expect(FakeSocket.living).toEqual([socket]);
    expect(seen.one?.messages).toHaveLength(2);
    draw("visible", false);
    await tick(5_000);
    expect(FakeSocket.living).toEqual([socket]);
  });

  test("a kept reconnect function opens nothing after unmounting", async () => {
    const { used } = await entered();
    const { reconnect } = used.now;
    used.unmount();
    await tick(50);
    reconnect();
    await tick();
    expect(FakeSocket.living).toEqual([]);
  });
});

describe("rendering", () => {
  test("all that is shown is the same object while nothing changes", async () => {
    const { used, socket } = await entered({ messages: [message(1)] });
    await doing(() => void used.now.send("mine"));
    socket.receive({ type: "typing", userId: "2", userName: "Bo" });
    await frame();
    const before = used.now;
    used.again({ roomId: "garden" });
    used.again({ roomId: "garden", onMessage: () => {} });
    expect(used.now).toBe(before);
    expect(before.pending).toHaveLength(1);
    expect(before.typingUsers).toHaveLength(1);
  });

  test("unchanged fields stay the same objects", async () => {
    const { used, socket } = await entered({ messages: [message(1)] });
    const before = used.now;
    socket.receive({ type: "typing", userId: "2", userName: "Bo" });
    await frame();
    expect(used.now).not.toBe(before);
    expect(used.now.typingUsers).toEqual([{ userId: "2", userName: "Bo" }]);
    for (const name of [
      "messages",
      "pending",
      "send",
      "retry",
      "discard",
      "notifyTyping",
      "loadOlder",
      "reconnect",
    ] as const) {
      expect(used.now[name], name).toBe(before[name]);
    }
  });

  test("an event without a visible change does not render", async () => {
    const { used, socket } = await entered({ messages: [message(1)] });
    const before = used.renders;
    socket.receive({ type: "user_joined", userId: "2", userName: "Bo", timestamp: 1 });
    socket.receive({ type: "message", message: message(1) });
    socket.receive({ type: "of the future" });
    socket.receive({ type: "another" });
    socket.receive({ type: "error", code: "rate-limited", message: "too fast" });
    await frame();
    expect(used.renders).toBe(before);
  });

  test("the first message renders at once", async () => {
    const { used, socket } = await entered();
    await tick(100);
    socket.receive({ type: "message", message: message(1) });
    expect(used.now.messages).toHaveLength(1);
  });

  test("a thousand messages in one frame render a few times", async () => {
    const { used, socket } = await entered();
    await tick(100);
    const before = used.renders;
    const timers = vi.getTimerCount();
    for (let seq = 1; seq <= 1_000; seq += 1) socket.receive({ type: "message", message: message(seq) });
    expect(used.renders - before).toBeLessThanOrEqual(2);
    expect(vi.getTimerCount() - timers).toBe(1);
    await frame();
    expect(used.now.messages).toHaveLength(1_000);
    expect(used.renders - before).toBeLessThanOrEqual(3);
  });

  test("a busy room renders at most once a frame", async () => {
    const { used, socket } = await entered();
    await tick(100);
    const before = used.renders;
    for (let seq = 1; seq <= 160; seq += 1) {
      socket.receive({ type: "message", message: message(seq) });
      await tick(1);
    }
    expect(used.renders - before).toBeGreaterThan(5);
    expect(used.renders - before).toBeLessThanOrEqual(11);
  });

  test("a delayed change is dropped after unmounting", async () => {
    const { used, socket } = await entered();
    socket.receive({ type: "message", message: message(1) });
    socket.receive({ type: "message", message: message(2) });
    used.unmount();
    const before = used.renders;
    await tick(12); // the socket is closed by now, and the frame not over
    expect(vi.getTimerCount()).toBe(0);
    await tick(20);
    expect(used.renders).toBe(before);
  });
});

describe("sending", () => {
  test("our message is pending at once, and its promise resolves", async () => {
    const { used, socket } = await entered();
    const { result: promise } = await doing(() => used.now.send("hello"));
    expect(used.now.pending).toMatchObject([{ content: "hello", state: "pending", sentAt: Date.now() }]);
    expect(used.now.messages).toEqual([]);
    expect(socket.frames).toEqual([{ type: "message", content: "hello", clientId: used.now.pending[0]?.clientId }]);
    const echo = stored(socket, 1);
    socket.receive({ type: "message", message: echo });
    await frame();
    expect(used.now.pending).toEqual([]);
    expect(used.now.messages).toEqual([echo]);
    await expect(promise).resolves.toEqual(echo);
  });

  test("a refused message fails, can be retried, and is stored then", async () => {
    const onError = vi.fn();
    const { used, socket } = await entered({ onError });
    const { result: promise } = await doing(() => used.now.send("hello"));
    const clientId = used.now.pending[0]?.clientId ?? "";
    const error = { type: "error", code: "rate-limited", message: "too fast", clientId };
    socket.receive(error);
    await frame();
    await expect(promise).rejects.toMatchObject({ name: "SendError", code: "rate-limited" });
    expect(used.now.pending).toMatchObject([{ clientId, state: "failed", error: { message: "too fast" } }]);
    expect(onError.mock.calls).toEqual([[error]]);

    const { result: second } = await doing(() => used.now.retry(clientId));
    await frame();
    expect(used.now.pending).toMatchObject([{ clientId, state: "pending" }]);
    expect(socket.frames).toHaveLength(2);
    expect(socket.frames[1]).toEqual(socket.frames[0]);
    socket.receive({ type: "message", message: stored(socket, 1) });
    await expect(second).resolves.toMatchObject({ content: "hello" });
  });

  test("a failed message can be discarded", async () => {
    const { used, socket } = await entered();
    await doing(() => void used.now.send("hello"));
    const clientId = used.now.pending[0]?.clientId ?? "";
    socket.receive({ type: "error", code: "refused", message: "no", clientId });
    await frame();
    await doing(() => used.now.discard(clientId));
    await frame();
    expect(used.now.pending).toEqual([]);
    await expect(used.now.retry(clientId)).rejects.toMatchObject({ code: "discarded" });
  });

  test("a message written offline is sent exactly once", async () => {
    const { used, socket } = await entered({ messages: [message(1)] });
    socket.drop();
    const { result: promise } = await doing(() => used.now.send("from the tunnel"));
    await frame();
    expect(used.now.pending).toMatchObject([{ content: "from the tunnel", state: "pending" }]);
    expect(used.now.pending[0]?.sentAt).toBeUndefined();
    await tick(500);
    FakeSocket.last.accept();
    expect(FakeSocket.last.frames).toEqual([]); // not before the history has shown what is stored
    FakeSocket.last.receive({ type: "history", messages: [], resumed: true });
    expect(FakeSocket.last.frames).toMatchObject([{ content: "from the tunnel" }]);
    FakeSocket.last.receive({ type: "message", message: stored(FakeSocket.last, 2) });
    await expect(promise).resolves.toMatchObject({ seq: 2 });
    const again = await returned();
    expect(again.frames).toEqual([]);
    expect(used.now.messages).toHaveLength(2);
  });

  test("a message whose echo was lost is not sent twice", async () => {
    const { used, socket } = await entered({ messages: [message(1)] });
    await doing(() => void used.now.send("hello"));
    const again = await returned([stored(socket, 2)]);
    expect(again.path).toContain("since=1");
    expect(again.frames).toEqual([]);
    expect(used.now.pending).toEqual([]);
    expect(used.now.messages.map(({ content }) => content)).toEqual(["words 1", "hello"]);
  });

  test("a message that is not accepted rejects, and is not pending", async () => {
    const { used, socket } = await entered();
    await expect(used.now.send("  ")).rejects.toMatchObject({ code: "empty" });
    socket.drop();
    await doing(() => {
      for (let count = 0; count < 100; count += 1) void used.now.send(`words ${count}`);
    });
    await expect(used.now.send("one too many")).rejects.toMatchObject({ code: "too-many" });
    await tick(500);
    FakeSocket.last.drop(4403);
    await expect(used.now.send("too late")).rejects.toMatchObject({ code: "not-connected" });
    await expect(used.now.retry(used.now.pending[0]?.clientId ?? "")).rejects.toMatchObject({ code: "not-connected" });
    expect(used.now.pending).toHaveLength(100);
  });

  test("typing notices are limited, not sent on each keystroke", async () => {
    const { used, socket } = await entered();
    for (let key = 0; key < 30; key += 1) {
      used.now.notifyTyping();
      await tick(100);
    }
    expect(socket.frames).toEqual([{ type: "typing" }, { type: "typing" }]);
  });
});

describe("callbacks", () => {
  test("each gets its own events, and always the newest is called", async () => {
    const called: string[] = [];
    const callbacks = (render: number): In => ({
      roomId: "garden",
      onMessage: ({ content }) => void called.push(`${render} ${content}`),
      onJoined: ({ userName }) => void called.push(`${render} ${userName} joined`),
      onLeft: ({ userName }) => void called.push(`${render} ${userName} left`),
      onError: ({ message }) => void called.push(`${render} ${message}`),
      onResync: () => void called.push(`${render} resync`),
    });
    const used = use(useIn, callbacks(0), { around });
    await tick();
    const socket = enter([message(1)]);
    expect(called).toEqual([]);
    used.again(callbacks(1));
    socket.receive({ type: "user_joined", userId: "2", userName: "Bo", timestamp: 1 });
    used.again(callbacks(2));
    socket.receive({ type: "message", message: message(2) });
    used.again(callbacks(3));
    socket.receive({ type: "error", code: "bad", message: "no such type" });
    used.again(callbacks(4));
    socket.receive({ type: "user_left", userId: "2", userName: "Bo", timestamp: 1 });
    used.again(callbacks(5));
    socket.drop();
    await tick(500);
    enter([message(900)], { resumed: false });
    await frame();
    expect(called).toEqual(["1 Bo joined", "2 words 2", "3 no such type", "4 Bo left", "5 resync"]);
    expect(used.now.messages.map(({ seq }) => seq)).toEqual([900]);
    expect(FakeSocket.all.length).toBe(2);
  });

  test("messages of a history do not call onMessage", async () => {
    const onMessage = vi.fn();
    const { used } = await entered({ messages: [message(1)], onMessage });
    await returned([message(2), message(3)]);
    expect(used.now.messages).toHaveLength(3);
    expect(onMessage).not.toHaveBeenCalled();
  });

  test("our own message calls onMessage once", async () => {
    const onMessage = vi.fn();
    const { used, socket } = await entered({ onMessage });
    await doing(() => void used.now.send("hello"));
    const echo = stored(socket, 1);
    socket.receive({ type: "message", message: echo });
    socket.receive({ type: "message", message: echo });
    expect(onMessage.mock.calls).toEqual([[echo]]);
  });

  test("no callback runs after unmounting or leaving the room", async () => {
    const onMessage = vi.fn();
    const { used, socket } = await entered({ onMessage });
    used.again({ roomId: "kitchen", onMessage });
    socket.receive({ type: "message", message: message(1) });
    await tick();
    const kitchen = enter();
    used.unmount();
    kitchen.receive({ type: "message", message: message(1) });
    expect(onMessage).not.toHaveBeenCalled();
  });
});

describe("older messages", () => {
  const page = (messages: unknown, more = {}) => Response.json({ messages, ...more });

  test("are requested with the credentials and come first", async () => {
    const { used } = await entered({ messages: [message(51), message(52)] });
    expect(used.now.hasOlder).toBe(true);
    http.mockResolvedValueOnce(page([message(49), message(50)], { hasMore: true }));
    const { result: found } = await doing(() => used.now.loadOlder());
    await expect(found).resolves.toBe(2);
    await frame();
    expect(used.now.messages.map(({ seq }) => seq)).toEqual([49, 50, 51, 52]);
    expect(used.now.hasOlder).toBe(true);
    const [url, init] = http.mock.calls[0] ?? [];
    expect(url).toBe(`${location.origin}/api/realtime/rooms/garden/messages?before=51&limit=50`);
    expect(new Headers(init?.headers).get("Authorization")).toBe("Bearer 1:Ana");
    http.mockResolvedValueOnce(page([], { hasMore: false }));
    const { result: foundNone } = await doing(() => used.now.loadOlder());
    await expect(foundNone).resolves.toBe(0);
    await frame();
    expect(used.now.hasOlder).toBe(false);
  });

  test("are no live messages", async () => {
    const onMessage = vi.fn();
    const { used } = await entered({ messages: [message(51)], onMessage });
    http.mockResolvedValueOnce(page([message(50)], { hasMore: true }));
    await doing(() => used.now.loadOlder());
    expect(onMessage).not.toHaveBeenCalled();
  });

  test("that fail to load reject and change nothing", async () => {
    const { used } = await entered({ messages: [message(51)] });
    await Promise.all([expect(used.now.loadOlder()).rejects.toThrow("there is no network"), frame()]);
    expect(used.now).toMatchObject({ hasOlder: true, messages: [{ seq: 51 }] });
  });
});

describe("the users who are typing", () => {
  test("are shown for three seconds, or until they send a message", async () => {
    const { used, socket } = await entered();
    socket.receive({ type: "typing", userId: "2", userName: "Bo" });
    socket.receive({ type: "typing", userId: "3", userName: "Cleo" });
    await frame();
    expect(used.now.typingUsers.map(({ userName }) => userName)).toEqual(["Bo", "Cleo"]);
    socket.receive({ type: "message", message: message(1) });
    await frame();
    expect(used.now.typingUsers.map(({ userName }) => userName)).toEqual(["Cleo"]);
    await tick(3_000);
    expect(used.now.typingUsers).toEqual([]);
  });
});
