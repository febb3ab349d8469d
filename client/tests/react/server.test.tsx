// @vitest-environment node
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ChatRoom, DormouseProvider, usePresence, useRoom, useWebSocket } from "../../react/index.js";

const dialled = vi.fn();
let complaints: ReturnType<typeof vi.spyOn>[];

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", dialled);
  vi.stubGlobal("fetch", dialled);
  complaints = [vi.spyOn(console, "error"), vi.spyOn(console, "warn")];
});

/** Nothing is opened, and nothing is kept for longer than a request may take. */
afterEach(async () => {
  await vi.advanceTimersByTimeAsync(1_000);
  const timers = vi.getTimerCount();
  vi.useRealTimers();
  vi.unstubAllGlobals();
  expect(dialled).not.toHaveBeenCalled();
  for (const complaint of complaints) expect(complaint).not.toHaveBeenCalled();
  expect(timers).toBe(0);
});

test("there is no page here", () => {
  expect(typeof window).toBe("undefined");
  expect(typeof document).toBe("undefined");
});

test("a chat room rendered on a server opens no connection", () => {
  const credentials = vi.fn(() => ({ devToken: "1:Ana" }));
  const html = renderToString(
    <DormouseProvider baseUrl="/rt" credentials={credentials}>
      <ChatRoom roomId="garden" title="The <garden>" />
    </DormouseProvider>,
  );
  expect(html).toContain("The &lt;garden&gt;");
  expect(html).toContain("<textarea");
  expect(html).toContain("Connecting");
  expect(html).toContain("On the way to the room");
  expect(html).not.toContain("Disconnected");
  expect(credentials).not.toHaveBeenCalled();
  expect(renderToString(<ChatRoom roomId="garden" />)).toContain("garden");
});

test("hooks rendered on a server show that nothing is known yet", () => {
  function Hooks() {
    const socket = useWebSocket({ url: "/live" });
    const room = useRoom("garden");
    const presence = usePresence();
    return (
      <p>
        {[socket.state, room.state, room.messages.length, presence.state, presence.users.length, presence.status].join(
          " ",
        )}
      </p>
    );
  }
  expect(renderToString(<Hooks />)).toBe("<p>closed closed 0 closed 0 online</p>");
});
