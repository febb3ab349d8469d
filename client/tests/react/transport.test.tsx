/** The hooks where WebSockets are blocked: the same rooms, over another transport. */

import { beforeEach, expect, test } from "vitest";
import { ChatRoom, DormouseProvider, type DormouseProviderProps, usePresence, useRoom } from "../../react/index.js";
import { FakeServer } from "../unit/fake-server.js";
import { FakeSocket } from "./fake-socket.js";
import { doing, enter, frame, http, message, show, tick } from "./stage.js";

let server: FakeServer;
let origins = 0;
let room: ReturnType<typeof useRoom>;
let presence: ReturnType<typeof usePresence>;

beforeEach(() => {
  server = new FakeServer();
  http.mockImplementation(server.fetch);
});

function Garden() {
  room = useRoom("garden");
  return null;
}

function People() {
  presence = usePresence();
  return null;
}

/** At a server that no test has met: what is learned of the way to it lasts as long as the page. */
const draw = (props: DormouseProviderProps, child = <Garden />) => (
  <DormouseProvider credentials={() => ({ devToken: "1:Ana" })} {...props}>
    {child}
  </DormouseProvider>
);
const newServer = () => `https://hooks-${(origins += 1)}.example`;

async function greet(frameOfServer: unknown): Promise<void> {
  server.stream.accept();
  server.stream.say(frameOfServer);
  await tick();
  await frame();
}

const history = (...messages: ReturnType<typeof message>[]) => ({ type: "history", messages });

test("a room over a WebSocket reports its transport", async () => {
  show(draw({ baseUrl: newServer() }));
  expect(room.transport).toBe("websocket");
  await tick();
  enter();
  await frame();
  expect(room).toMatchObject({ state: "open", transport: "websocket", isUnshared: false });
  expect(server.streams).toEqual([]);
});

test("a room behind a proxy that refuses upgrades uses events", async () => {
  show(draw({ baseUrl: newServer() }));
  await tick();
  FakeSocket.last.drop();
  await tick(500);
  FakeSocket.last.drop();
  await tick();
  await greet(history(message(1)));
  // There are no Web Locks here.
  expect(room).toMatchObject({ state: "open", isConnected: true, transport: "events", isUnshared: true });
  expect(room.messages.map(({ seq }) => seq)).toEqual([1]);

  const { result } = await doing(() => room.send("hello"));
  await tick();
  const mine = message(2, { userId: "1", ...server.post.body });
  server.post.answer({ status: 200, body: { success: true, message: mine } });
  expect(await result).toEqual(mine);
  await frame();
  expect(room.pending).toEqual([]);
  expect(room.messages.map(({ seq }) => seq)).toEqual([1, 2]);
});

test("the next room does not try blocked WebSockets again", async () => {
  const baseUrl = newServer();
  const shown = show(draw({ baseUrl }));
  await tick();
  FakeSocket.last.drop();
  await tick(500);
  FakeSocket.last.drop();
  await tick();
  await greet(history());
  const dialled = FakeSocket.all.length;
  shown.show(draw({ baseUrl }, <People />));
  await tick(10);
  await greet({ type: "presence_list", users: [] });
  expect(presence).toMatchObject({ state: "open", transport: "events", isUnshared: true });
  expect(FakeSocket.all.length).toBe(dialled);
  expect(server.streams.map(({ isOpen }) => isOpen)).toEqual([false, true]);
});

test("`events` tries no WebSocket at all", async () => {
  show(draw({ baseUrl: newServer(), transport: "events" }));
  await tick();
  await greet(history());
  expect(room).toMatchObject({ state: "open", transport: "events" });
  expect(FakeSocket.all).toEqual([]);
});

test("`websocket` tries no stream", async () => {
  show(draw({ baseUrl: newServer(), transport: "websocket" }));
  await tick();
  for (let attempts = 0; attempts < 5; attempts += 1) {
    FakeSocket.last.drop();
    await tick(10_000);
  }
  expect(FakeSocket.all.length).toBe(6);
  expect(server.streams).toEqual([]);
});

test("another transport reconnects without traces of the old one", async () => {
  const baseUrl = newServer();
  const shown = show(draw({ baseUrl, transport: "events" }));
  await tick();
  await greet(history());
  shown.show(draw({ baseUrl, transport: "websocket" }));
  await tick();
  enter();
  await frame();
  expect(room.transport).toBe("websocket");
  expect(server.stream.isOpen).toBe(false);
  expect(FakeSocket.living.length).toBe(1);
});

test("`<ChatRoom>` looks the same", async () => {
  const { page } = show(draw({ baseUrl: newServer(), transport: "events" }, <ChatRoom roomId="garden" />));
  await tick();
  await greet(history(message(1)));
  expect(page.querySelector("[role=status]")?.textContent).toBe("Connected");
  expect(page.querySelector(".dormouse-bubble")?.textContent).toBe("words 1");
});
