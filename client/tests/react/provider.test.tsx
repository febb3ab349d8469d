import { describe, expect, test, vi } from "vitest";
import { DormouseProvider, type DormouseProviderProps, useRoom } from "../../react/index.js";
import { FakeSocket } from "./fake-socket.js";
import { enter, frame, show, tick } from "./stage.js";

let room: ReturnType<typeof useRoom>;

function InGarden() {
  room = useRoom("garden");
  return null;
}

const draw = (props: DormouseProviderProps) => (
  <DormouseProvider {...props}>
    <InGarden />
  </DormouseProvider>
);

async function provided(props: DormouseProviderProps) {
  const shown = show(draw(props));
  await tick();
  return { again: (next: DormouseProviderProps) => shown.show(draw(next)) };
}

describe("the server", () => {
  test("without a provider: this page's own origin, and the cookie", async () => {
    show(<InGarden />);
    await tick();
    expect(FakeSocket.last.url).toBe(`${location.origin.replace("http", "ws")}/api/realtime/rooms/garden/ws`);
    expect(FakeSocket.last.protocols).toEqual([]);
  });

  test("with an empty provider: the same", async () => {
    await provided({});
    expect(FakeSocket.last.url).toBe(`${location.origin.replace("http", "ws")}/api/realtime/rooms/garden/ws`);
  });

  test("another origin is dialled there", async () => {
    await provided({ baseUrl: "https://rooms.example/rt/" });
    expect(FakeSocket.last.url).toBe("wss://rooms.example/rt/rooms/garden/ws");
  });

  test("another baseUrl reconnects, with nothing left of the old one", async () => {
    const { again } = await provided({ baseUrl: "https://one.example" });
    enter([{ id: "1", userId: "2", userName: "Bo", content: "old", timestamp: 1 }]);
    await frame();
    again({ baseUrl: "https://two.example" });
    expect(room.messages).toEqual([]);
    await tick();
    expect(FakeSocket.living.map(({ url }) => url)).toEqual(["wss://two.example/rooms/garden/ws"]);
    expect(FakeSocket.all.length).toBe(2);
  });

  test("the nearest provider is used", async () => {
    show(
      <DormouseProvider baseUrl="https://far.example">{draw({ baseUrl: "https://near.example" })}</DormouseProvider>,
    );
    await tick();
    expect(FakeSocket.all.map(({ url }) => url)).toEqual(["wss://near.example/rooms/garden/ws"]);
  });
});

describe("the credentials", () => {
  test("inline credentials do not reconnect; the newest are called", async () => {
    const { again } = await provided({ credentials: () => ({ token: "first" }) });
    expect(FakeSocket.last.protocols).toEqual(["dormouse", "bearer.first"]);
    enter();
    for (const token of ["second", "third"]) again({ credentials: () => ({ token }) });
    await tick(10_000);
    expect(FakeSocket.all.length).toBe(1);
    FakeSocket.last.drop();
    again({ credentials: () => ({ token: "fourth" }) });
    await tick(500);
    expect(FakeSocket.last.protocols).toEqual(["dormouse", "bearer.fourth"]);
    expect(FakeSocket.all.length).toBe(2);
  });

  test("refused credentials are requested once more, with refused", async () => {
    const credentials = vi.fn(({ refused }: { refused: boolean }) => ({ token: refused ? "fresh" : "stale" }));
    await provided({ credentials });
    FakeSocket.last.accept();
    FakeSocket.last.drop(4401);
    await tick();
    expect(credentials.mock.calls).toEqual([[{ refused: false }], [{ refused: true }]]);
    expect(FakeSocket.last.protocols).toEqual(["dormouse", "bearer.fresh"]);
  });

  test("our own user comes from the credentials, or from userId", async () => {
    const { again } = await provided({ credentials: () => ({ devToken: "1:Ana" }) });
    enter();
    await frame();
    expect(room.userId).toBe("1");
    again({ userId: "7" });
    expect(room.userId).toBe("7");
  });

  test("another userId reconnects", async () => {
    const { again } = await provided({ userId: "7" });
    again({ userId: "8" });
    await tick(1_000);
    expect(FakeSocket.all.length).toBe(2);
    expect(FakeSocket.living.length).toBe(1);
    expect(room.userId).toBe("8");
  });

  test("credentials that are given first or taken away reconnect", async () => {
    const { again } = await provided({});
    again({ credentials: () => ({ token: "mine" }) });
    await tick();
    expect(FakeSocket.living.map(({ protocols }) => protocols)).toEqual([["dormouse", "bearer.mine"]]);
    again({});
    await tick();
    expect(FakeSocket.living.map(({ protocols }) => protocols)).toEqual([[]]);
  });

  test("a render that changes nothing reconnects nothing", async () => {
    const { again } = await provided({ baseUrl: "/rt", userId: "7", timing: { firstBackoffMs: 100 } });
    for (let count = 0; count < 5; count += 1) again({ baseUrl: "/rt", userId: "7", timing: { firstBackoffMs: 100 } });
    await tick(5_000);
    expect(FakeSocket.all.length).toBe(1);
  });
});

test("the times are configurable", async () => {
  await provided({ timing: { firstBackoffMs: 4_000 } });
  FakeSocket.last.accept();
  FakeSocket.last.drop();
  await tick(3_999);
  expect(FakeSocket.all.length).toBe(1);
  await tick(1);
  expect(FakeSocket.all.length).toBe(2);
});
