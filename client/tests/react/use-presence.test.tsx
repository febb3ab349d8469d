import { expect, test } from "vitest";
import { DormouseProvider, type PresenceState, usePresence } from "../../react/index.js";
import type { UserPresence } from "../../src/index.js";
import { FakeSocket } from "./fake-socket.js";
import { doing, frame, show, tick, use } from "./stage.js";

type Surround = NonNullable<Parameters<typeof use>[2]>["around"];
const around: Surround = (child) => (
  <DormouseProvider credentials={() => ({ devToken: "1:Ana" })}>{child}</DormouseProvider>
);

const user = (userId: string, userName: string, more: Partial<UserPresence> = {}): UserPresence => ({
  userId,
  userName,
  status: "online",
  lastSeen: 1,
  ...more,
});

const ANA = user("1", "Ana");
const BO = user("2", "Bo");
const CLEO = user("3", "Cleo");

/** In the global presence room, with these users. */
async function present(...users: UserPresence[]) {
  const used = use(usePresence, undefined as string | undefined, { around });
  await tick();
  const socket = FakeSocket.last;
  socket.accept();
  socket.receive({ type: "presence_list", users });
  await frame();
  return { used, socket };
}

test("users are listed by name, and follow joins and leaves", async () => {
  const { used, socket } = await present(CLEO, ANA);
  expect(socket.path).toBe("/api/realtime/presence/ws?token=1%3AAna");
  expect(used.now).toMatchObject({ state: "open", isConnected: true, userId: "1", users: [ANA, CLEO], isWhole: true });
  socket.receive({ type: "presence_update", user: BO });
  await frame();
  expect(used.now.users).toEqual([ANA, BO, CLEO]);
  socket.receive({ type: "presence_remove", userId: "3" });
  await frame();
  expect(used.now.users).toEqual([ANA, BO]);
});

test("our status is online until another is chosen and sent", async () => {
  const { used, socket } = await present(ANA);
  expect(used.now.status).toBe("online");
  await doing(() => used.now.setStatus("busy"));
  await frame();
  expect(used.now.status).toBe("busy");
  expect(used.now.users).toMatchObject([{ userId: "1", status: "busy" }]);
  expect(socket.frames).toEqual([{ type: "status", status: "busy" }]);
});

test("a status chosen before the connection opens is sent then", async () => {
  const used = use(usePresence, undefined as string | undefined, { around });
  await tick();
  await doing(() => used.now.setStatus("away"));
  await frame();
  expect(used.now.status).toBe("away");
  for (let connection = 0; connection < 2; connection += 1) {
    FakeSocket.last.accept();
    FakeSocket.last.receive({ type: "presence_list", users: [ANA] });
    expect(FakeSocket.last.frames).toEqual([{ type: "status", status: "away" }]);
    FakeSocket.last.drop();
    await tick(1_000);
  }
});

test("a status that our other tab chooses is shown", async () => {
  const { used, socket } = await present(ANA);
  socket.receive({ type: "presence_update", user: { ...ANA, status: "away" } });
  await frame();
  expect(used.now.status).toBe("away");
});

test("the last known list stays without a connection", async () => {
  const { used, socket } = await present(ANA, BO);
  socket.drop(1001);
  await frame();
  expect(used.now).toMatchObject({ state: "waiting", isConnected: false, users: [ANA, BO], close: { code: 1001 } });
});

test("reconnect ends a wait, and tries again after a refusal", async () => {
  const { used, socket } = await present(ANA);
  socket.drop(1001, "retry-after=60");
  await doing(() => used.now.reconnect());
  expect(FakeSocket.all.length).toBe(2);
  FakeSocket.last.accept();
  FakeSocket.last.drop(4403);
  await frame();
  expect(used.now.state).toBe("closed");
  await doing(() => used.now.reconnect());
  expect(FakeSocket.all.length).toBe(3);
});

test("a kept reconnect function opens nothing after unmounting", async () => {
  const { used } = await present(ANA);
  const { reconnect } = used.now;
  used.unmount();
  await tick(50);
  reconnect();
  await tick();
  expect(FakeSocket.living).toEqual([]);
});

test("nothing renders while nothing changes", async () => {
  const { used, socket } = await present(ANA, BO);
  const before = used.now;
  const { renders } = used;
  used.again(undefined);
  expect(used.now).toBe(before);
  await tick(25_000);
  expect(socket.frames).toEqual([{ type: "heartbeat" }]);
  expect(used.renders).toBe(renders + 1);
});

test("components share one socket in each scope", async () => {
  const seen: Record<string, PresenceState> = {};
  function User({ name, scope }: { name: string; scope?: string }) {
    seen[name] = usePresence(scope);
    return null;
  }
  const shown = show(
    <>
      <User key="one" name="one" />
      <User key="two" name="two" scope="global" />
      <User key="three" name="three" scope="team a" />
    </>,
  );
  await tick();
  expect(FakeSocket.all.map(({ path }) => path)).toEqual([
    "/api/realtime/presence/ws",
    "/api/realtime/presence/team%20a/ws",
  ]);
  const [shared, own] = FakeSocket.all;
  shared?.accept();
  shared?.receive({ type: "presence_list", users: [BO] });
  await frame();
  expect(seen.one?.users).toEqual([BO]);
  expect(seen.two?.users).toBe(seen.one?.users);
  expect(seen.three?.users).toEqual([]);
  shown.show(
    <>
      <User key="two" name="two" scope="global" />
    </>,
  );
  await tick(20);
  expect(shared?.readyState).toBe(1);
  expect(own?.readyState).toBe(3);
  shown.show(null);
  await tick();
  expect(FakeSocket.living).toEqual([]);
});

test("another scope closes the old socket and shows nothing of it", async () => {
  const { used, socket } = await present(ANA, BO);
  used.again("team");
  expect(used.now.users).toEqual([]);
  await tick();
  expect(socket.readyState).not.toBe(1);
  expect(FakeSocket.living.map(({ path }) => path.split("?")[0])).toEqual(["/api/realtime/presence/team/ws"]);
});

test("StrictMode dials once", async () => {
  use(usePresence, undefined as string | undefined, { around, strict: true });
  await tick(5_000);
  expect(FakeSocket.all.length).toBe(1);
  expect(FakeSocket.living.length).toBe(1);
});
