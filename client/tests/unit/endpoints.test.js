// @ts-check
import { afterEach, describe, expect, test, vi } from "vitest";
import {
  chatEndpoints,
  isRoomName,
  isWithin,
  presenceEndpoints,
  roomSocketUrl,
  ticketsEndpoint,
} from "../../src/endpoints.js";

afterEach(() => vi.unstubAllGlobals());

describe("the name of a room", () => {
  test.each([
    "a",
    "lobby",
    "chat room",
    "50%",
    "..a",
    "...",
    "a.b",
    "名前",
    "😀",
    "a?b#c",
    "x".repeat(128),
    "é".repeat(64),
  ])("may be %j", (name) => {
    expect(isRoomName(name)).toBe(true);
  });

  test.each(["", ".", "..", "a/b", "/", "a\nb", "a\0", "\u007f", "\u0085", "\ud83d", "x".repeat(129), "é".repeat(65)])(
    "may not be %j",
    (name) => {
      expect(isRoomName(name)).toBe(false);
      expect(() => chatEndpoints("https://rooms.example", name)).toThrow(/no room can be named/);
      expect(() => presenceEndpoints("https://rooms.example", name)).toThrow(TypeError);
    },
  );
});

describe("the addresses", () => {
  test("a chat room has one for its socket and one for its messages", () => {
    const { socket, messages } = chatEndpoints("https://rooms.example/api/realtime", "lobby");
    expect(socket).toBe("https://rooms.example/api/realtime/rooms/lobby/ws");
    expect(messages).toBe("https://rooms.example/api/realtime/rooms/lobby/messages");
  });

  test("every valid name is escaped and stays one step of the path", () => {
    const { socket } = chatEndpoints("https://rooms.example", "a b?c#d%2Fé");
    expect(new URL(socket).pathname).toBe("/rooms/a%20b%3Fc%23d%252F%C3%A9/ws");
    expect(new URL(socket).search).toBe("");
  });

  test("presence has a short form for the global scope", () => {
    expect(presenceEndpoints("https://rooms.example/rt", "global").socket).toBe("https://rooms.example/rt/presence/ws");
    expect(presenceEndpoints("https://rooms.example/rt", "team 1").socket).toBe(
      "https://rooms.example/rt/presence/team%201/ws",
    );
    expect(presenceEndpoints("https://rooms.example/rt", "global").list).toBe("https://rooms.example/rt/presence/list");
  });

  test("slashes at the end of the base make no difference", () => {
    expect(ticketsEndpoint("https://rooms.example/rt//")).toBe("https://rooms.example/rt/tickets");
    expect(ticketsEndpoint("https://rooms.example")).toBe("https://rooms.example/tickets");
    expect(ticketsEndpoint(new URL("https://rooms.example/rt/"))).toBe("https://rooms.example/rt/tickets");
  });

  test("a relative base belongs to the page", () => {
    const endpoints = chatEndpoints("/api/realtime", "lobby");
    vi.stubGlobal("location", new URL("https://page.example/deep/down?x=1"));
    expect(endpoints.socket).toBe("https://page.example/api/realtime/rooms/lobby/ws");
    expect(ticketsEndpoint("rt")).toBe("https://page.example/deep/rt/tickets");
  });

  test("a relative base without a page has no address", () => {
    expect(() => chatEndpoints("/api/realtime", "lobby").socket).toThrow(TypeError);
  });
});

describe("the socket of a room in any namespace", () => {
  test("has the namespace as a path spells it", () => {
    expect(roomSocketUrl("/api/realtime/", "BIG_POLLS", "a b")).toBe("/api/realtime/big-polls/a%20b/ws");
    expect(roomSocketUrl("https://rooms.example", "polls", "x")).toBe("https://rooms.example/polls/x/ws");
  });

  test.each(["", ".", "a/b"])("is refused for a namespace or name of %j", (odd) => {
    expect(() => roomSocketUrl("/rt", odd, "x")).toThrow(TypeError);
    expect(() => roomSocketUrl("/rt", "polls", odd)).toThrow(TypeError);
  });
});

describe("an address of the server", () => {
  test.each([
    ["https://rooms.example/rt/polls/x/ws", "https://rooms.example/rt"],
    ["wss://rooms.example/rt/polls/x/ws", "https://rooms.example/rt/"],
    ["wss://rooms.example:443/rt", "https://rooms.example/rt"],
    ["ws://rooms.example:80/x", "http://rooms.example"],
    ["/rt/polls/x/ws", "/rt"],
    ["wss://page.example/rt/polls", "/rt"],
  ])("is %s for %s", (url, baseUrl) => {
    vi.stubGlobal("location", new URL("https://page.example/"));
    expect(isWithin(url, baseUrl)).toBe(true);
  });

  test.each([
    ["wss://evil.example/rt/x", "https://rooms.example/rt"],
    ["ws://rooms.example/rt/x", "https://rooms.example/rt"],
    ["wss://rooms.example:8443/rt/x", "https://rooms.example/rt"],
    ["wss://rooms.example/rtx", "https://rooms.example/rt"],
    ["wss://rooms.example/other", "https://rooms.example/rt"],
    ["wss://rooms.example/rt/../other", "https://rooms.example/rt"],
    ["wss://rooms.example/rt/%2e%2e/other", "https://rooms.example/rt"],
    ["wss://rooms.example.evil.example/rt/x", "https://rooms.example/rt"],
    ["wss://rooms.example@evil.example/rt/x", "https://rooms.example/rt"],
    ["//evil.example/rt/x", "/rt"],
  ])("is not %s for %s", (url, baseUrl) => {
    vi.stubGlobal("location", new URL("https://page.example/"));
    expect(isWithin(url, baseUrl)).toBe(false);
  });
});
