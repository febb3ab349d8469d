import type { ReactElement } from "react";
import { describe, expect, test, vi } from "vitest";
import {
  DormouseProvider,
  type DormouseProviderProps,
  useRoomSocket,
  useWebSocket,
  type UseWebSocketOptions,
} from "../../react/index.js";
import { FakeSocket } from "./fake-socket.js";
import { frame, http, tick, use } from "./stage.js";

const provided = (props: DormouseProviderProps) => ({
  around: (child: ReactElement) => <DormouseProvider {...props}>{child}</DormouseProvider>,
});

const ROOMS = "https://rooms.example/rt";

/** A socket that is refused again and again, and a server that says why. */
async function refused(status: number, detail: string, options: Partial<UseWebSocketOptions> = {}) {
  http.mockImplementation(async () => Response.json({ detail }, { status }));
  const errors: string[] = [];
  const onError = (error: Error) => void errors.push(error.message);
  const used = use(useWebSocket, { url: `${ROOMS}/polls/x/ws`, onError, ...options }, provided({ baseUrl: ROOMS }));
  await tick();
  FakeSocket.last.drop();
  await tick(500);
  FakeSocket.last.drop();
  await frame();
  return { used, errors };
}

describe("useWebSocket under a provider", () => {
  test("uses the provider's credentials for the provider's server", async () => {
    const credentials = vi.fn(() => ({ token: "abc" }));
    use(useWebSocket, { url: "wss://rooms.example/rt/polls/x/ws" }, provided({ baseUrl: ROOMS, credentials }));
    await tick();
    expect(FakeSocket.last.protocols).toEqual(["dormouse", "bearer.abc"]);
    expect(credentials).toHaveBeenCalledExactlyOnceWith({ refused: false });
  });

  test.each(["wss://evil.example/rt/x", "ws://rooms.example/rt/x", "wss://rooms.example/other"])(
    "gives them to no other, such as %s",
    async (url) => {
      const credentials = vi.fn(() => ({ token: "abc" }));
      use(useWebSocket, { url }, provided({ baseUrl: ROOMS, credentials }));
      await tick();
      expect(FakeSocket.last.protocols).toEqual([]);
      expect(credentials).not.toHaveBeenCalled();
    },
  );

  test("prefers its own credentials", async () => {
    const own = () => ({ token: "own" });
    use(
      useWebSocket,
      { url: `${ROOMS}/polls/x/ws`, credentials: own },
      provided({ baseUrl: ROOMS, credentials: () => ({ token: "abc" }) }),
    );
    await tick();
    expect(FakeSocket.last.protocols).toEqual(["dormouse", "bearer.own"]);
  });

  test("asks the provider for fresh ones if they were refused", async () => {
    const credentials = vi.fn(({ refused }: { refused: boolean }) => ({ token: refused ? "fresh" : "stale" }));
    use(useWebSocket, { url: `${ROOMS}/polls/x/ws` }, provided({ baseUrl: ROOMS, credentials }));
    await tick();
    FakeSocket.last.accept();
    FakeSocket.last.drop(4401, "expired");
    await tick();
    expect(FakeSocket.last.protocols).toEqual(["dormouse", "bearer.fresh"]);
  });

  test("a new function in the provider does not reconnect", async () => {
    const used = use(useWebSocket, { url: `${ROOMS}/polls/x/ws` }, provided({ baseUrl: ROOMS }));
    await tick();
    FakeSocket.last.accept();
    used.again({ url: `${ROOMS}/polls/x/ws` });
    await tick();
    expect(FakeSocket.all).toHaveLength(1);
  });
});

describe("why it does not connect", () => {
  test("a missing identity closes it, with the server's text", async () => {
    const { used, errors } = await refused(401, "this needs a valid identity");
    expect(used.now).toMatchObject({
      state: "closed",
      close: { code: 4401, reason: "HTTP 401; this needs a valid identity" },
    });
    expect(errors.at(-1)).toBe("HTTP 401; this needs a valid identity");
  });

  test("an unknown path is reported, and tried again", async () => {
    const { used, errors } = await refused(404, "there is nothing at this path");
    expect(used.now).toMatchObject({ state: "waiting", close: { reason: "HTTP 404; there is nothing at this path" } });
    expect(errors.at(-1)).toBe("HTTP 404; there is nothing at this path");
  });

  test("is not asked with probe={false}", async () => {
    await refused(404, "no", { probe: false });
    expect(http).not.toHaveBeenCalled();
  });

  test("is not asked of another server than the provider's", async () => {
    await refused(404, "no", { url: "wss://other.example/rt/polls/x/ws" });
    expect(http).not.toHaveBeenCalled();
  });

  test("is there until it connects", async () => {
    const { used } = await refused(404, "there is nothing at this path");
    await tick(30_000);
    FakeSocket.last.accept();
    await frame();
    expect(used.now).toMatchObject({ state: "open", close: undefined });
  });
});

describe("useRoomSocket", () => {
  interface Tally {
    votes: number;
  }

  test("opens a room of a namespace at the provider's server", async () => {
    const received: number[] = [];
    const used = use(
      () =>
        useRoomSocket<Tally, { vote: string }>({
          namespace: "BIG_POLLS",
          name: "lunch today",
          onMessage: ({ votes }) => received.push(votes),
        }),
      {},
      provided({ baseUrl: ROOMS, credentials: () => ({ token: "abc" }) }),
    );
    await tick();
    expect(FakeSocket.last.url).toBe("wss://rooms.example/rt/big-polls/lunch%20today/ws");
    expect(FakeSocket.last.protocols).toEqual(["dormouse", "bearer.abc"]);
    FakeSocket.last.accept();
    FakeSocket.last.receive({ votes: 3 });
    await frame();
    expect(received).toEqual([3]);
    expect(used.now.send({ vote: "soup" })).toBe("sent");
    expect(FakeSocket.last.frames).toEqual([{ vote: "soup" }]);
    // @ts-expect-error: only what the room understands.
    const typed = () => used.now.send({ vote: 7 });
    expect(typed).toBeTypeOf("function");
  });

  test("calls the room, with the types of its calls", async () => {
    interface Calls extends Record<string, (args: any) => unknown> {
      move: (args: { card: number }) => { next: string };
      left: (args: { by?: string }) => number;
    }
    const used = use(() => useRoomSocket<Tally, never, Calls>({ namespace: "polls", name: "x" }), {});
    await tick();
    FakeSocket.last.accept();
    const moved = used.now.call("move", { card: 3 });
    const left = used.now.call("left");
    const [move, ask] = FakeSocket.last.frames;
    expect([move.name, move.args, ask.name]).toEqual(["move", { card: 3 }, "left"]);
    FakeSocket.last.receive({ type: "answer", id: move.id, value: { next: "bo" } });
    FakeSocket.last.receive({ type: "answer", id: ask.id, value: 2 });
    const next: string = (await moved).next;
    const count: number = await left;
    expect([next, count]).toEqual(["bo", 2]);
    // @ts-expect-error: only the arguments of this call.
    const wrong = () => used.now.call("move", { card: "3" });
    // @ts-expect-error: this call has arguments.
    const none = () => used.now.call("move");
    expect([typeof wrong, typeof none]).toEqual(["function", "function"]);
  });

  test("a call without a room is not sent, and unmounting ends one", async () => {
    const used = use(({ name }: { name: string | null }) => useRoomSocket({ namespace: "polls", name }), {
      name: null as string | null,
    });
    await expect(used.now.call("move", {})).rejects.toMatchObject({ code: "not_sent" });
    used.again({ name: "x" });
    await tick();
    FakeSocket.last.accept();
    const ended = expect(used.now.call("move", {})).rejects.toMatchObject({ code: "closed" });
    used.unmount();
    await tick(20);
    await ended;
  });

  test("without a provider it is on this page's own origin", async () => {
    use(() => useRoomSocket({ namespace: "polls", name: "x" }), {});
    await tick();
    expect(FakeSocket.last.url).toBe(`${location.origin.replace("http", "ws")}/api/realtime/polls/x/ws`);
  });

  test("opens no room without a name, and another for another name", async () => {
    const used = use(({ name }: { name: string | null }) => useRoomSocket({ namespace: "polls", name }), {
      name: null as string | null,
    });
    await tick();
    expect(FakeSocket.all).toEqual([]);
    used.again({ name: "x" });
    await tick();
    used.again({ name: "y" });
    await tick(20);
    expect(FakeSocket.living.map(({ path }) => path)).toEqual(["/api/realtime/polls/y/ws"]);
  });
});
