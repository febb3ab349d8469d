// @ts-check
import { describe, expect, test, vi } from "vitest";
import { Chat } from "../../src/chat.js";
import { BASE_URL, coreMessage, enter, history, knock, live, message, messages, seqs } from "./chat-helpers.js";
import { eventsOf, fakeFetch, jwt, pass, reportedErrors, useFakeTime } from "./helpers.js";

useFakeTime();

describe("entering a room", () => {
  test("begins with its history, in order", async () => {
    const { chat, network, received } = await knock();
    expect(network.last.url).toBe("wss://rooms.example/api/realtime/rooms/lobby/ws");
    expect([chat.roomId, chat.hasHistory, chat.messages]).toEqual(["lobby", false, []]);
    network.last.accept();
    expect(chat.hasHistory).toBe(false);
    network.last.say(history(messages(1, 3)));
    expect(chat.hasHistory).toBe(true);
    expect(seqs(chat)).toEqual([1, 2, 3]);
    expect(received).toEqual([{ from: "history", added: messages(1, 3) }]);
  });

  test("is emitted even if the room is empty", async () => {
    const { chat, received, resyncs } = await enter([]);
    expect(chat.hasHistory).toBe(true);
    expect(received).toEqual([{ from: "history", added: [] }]);
    expect(resyncs).toEqual([]);
  });

  test("needs no page until it opens", () => {
    expect(() => new Chat({ baseUrl: "/api/realtime", roomId: "lobby" }).messages).not.toThrow();
  });

  test("throws if the name is not valid", () => {
    expect(() => new Chat({ baseUrl: BASE_URL, roomId: ".." })).toThrow(TypeError);
  });

  test("emits the states of its socket", async () => {
    const { chat, network } = await knock();
    const states = eventsOf(chat, "state");
    network.last.accept();
    network.last.drop(1011, "failed");
    expect(states).toMatchObject([{ state: "open" }, { state: "waiting", close: { code: 1011 } }]);
    expect(chat.state).toBe("waiting");
    expect(chat.snapshot).toMatchObject({
      state: "waiting",
      retryAt: Date.now() + 500,
      close: { code: 1011, reason: "failed" },
    });
    chat.reconnect();
    await pass(0);
    network.last.accept();
    expect(chat.state).toBe("open");
    chat.close();
    expect(chat.state).toBe("closed");
  });
});

describe("messages", () => {
  test("arrive live, each once and sorted by `seq`", async () => {
    const { chat, network, received } = await enter(messages(1, 2));
    for (const seq of [3, 3, 4, 2, 5]) network.last.say(live(message(seq)));
    expect(seqs(chat)).toEqual([1, 2, 3, 4, 5]);
    expect(received.slice(1)).toEqual([3, 4, 5].map((seq) => ({ from: "live", added: [message(seq)] })));
  });

  test("are the same array until they change", async () => {
    const { chat, network } = await enter(messages(1, 2));
    const before = chat.messages;
    network.last.say({ type: "typing", userId: "bo", userName: "Bo" });
    network.last.say(live(message(2)));
    expect(chat.messages).toBe(before);
    network.last.say(live(message(3)));
    expect(chat.messages).not.toBe(before);
  });

  test("are bounded, and dropped ones can be loaded again", async () => {
    const { chat, network } = await enter(messages(1, 50));
    for (const each of messages(51, 2_200)) network.last.say(live(each));
    expect([chat.messages.length, chat.hasOlder]).toEqual([2_200, false]);
    network.last.say(live(message(2_201)));
    expect([chat.messages.length, chat.messages[0]?.seq]).toEqual([2_001, 201]);
    expect(chat.hasOlder).toBe(true);
  });
});

describe("resuming", () => {
  test("the client requests the messages after its last one", async () => {
    const { chat, network, received, resyncs, lose, greet } = await enter(messages(1, 3));
    network.last.say(live(message(4)));
    await lose();
    expect(network.last.url).toBe("wss://rooms.example/api/realtime/rooms/lobby/ws?since=4");
    greet(history(messages(5, 7), true));
    expect(seqs(chat)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(received.at(-1)).toEqual({ from: "history", added: messages(5, 7) });
    expect(resyncs).toEqual([]);
  });

  test("in an empty room the client requests all messages", async () => {
    const { network, lose } = await enter([]);
    await lose();
    expect(new URL(network.last.url).searchParams.get("since")).toBe("0");
  });

  test("before the first history the client requests nothing", async () => {
    const { network, lose } = await knock();
    network.last.accept();
    await lose();
    expect(new URL(network.last.url).search).toBe("");
  });

  test("with nothing missed, the reader learns that too", async () => {
    const { chat, received, lose, greet } = await enter(messages(1, 3));
    await lose();
    greet(history([], true));
    expect(seqs(chat)).toEqual([1, 2, 3]);
    expect(received.at(-1)).toEqual({ from: "history", added: [] });
  });

  test("too many missed messages start the list again", async () => {
    const { chat, lose, greet } = await enter(messages(1, 3));
    /** @type {unknown[]} */
    const emitted = [];
    chat.on("resync", () => emitted.push(["resync", seqs(chat)]));
    chat.on("messages", () => emitted.push(["messages", seqs(chat)]));
    await lose();
    greet(history(messages(700, 702), false));
    expect(emitted).toEqual([
      ["resync", []],
      ["messages", [700, 701, 702]],
    ]);
    expect(chat.hasOlder).toBe(true);
  });

  test("in a room that lost its last messages, the list starts again", async () => {
    const { chat, resyncs, lose, greet } = await enter(messages(1, 9));
    await lose();
    greet(history(messages(1, 5), false));
    expect(seqs(chat)).toEqual([1, 2, 3, 4, 5]);
    expect(resyncs).toHaveLength(1);
    expect(chat.hasOlder).toBe(false);
  });

  test("after a close the list is kept and continues", async () => {
    const { chat, network, greet } = await enter(messages(1, 3));
    chat.close();
    expect(seqs(chat)).toEqual([1, 2, 3]);
    chat.open();
    await pass(0);
    expect(new URL(network.last.url).searchParams.get("since")).toBe("3");
    greet(history(messages(4, 4), true));
    expect(seqs(chat)).toEqual([1, 2, 3, 4]);
  });

  test("older messages are known from the second message on", async () => {
    expect((await enter(messages(1, 8))).chat.hasOlder).toBe(false);
    expect((await enter(messages(2, 8))).chat.hasOlder).toBe(true);
  });

  test("older messages stay known to be there or not", async () => {
    const { chat, lose, greet } = await enter(messages(5, 8));
    expect(chat.hasOlder).toBe(true);
    await lose();
    greet(history([], true));
    expect(chat.hasOlder).toBe(true);
  });
});

describe("a server with only the core", () => {
  test("is asked for nothing that it does not know", async () => {
    const { network, lose } = await enter(messages(1, 3, coreMessage));
    await lose();
    expect(new URL(network.last.url).search).toBe("");
  });

  test("shows missed messages among its latest ones", async () => {
    const { chat, resyncs, received, lose, greet } = await enter(messages(1, 3, coreMessage));
    await lose();
    greet(history(messages(2, 5, coreMessage)));
    expect(chat.messages).toEqual(messages(1, 5, coreMessage));
    expect(received.at(-1)).toEqual({ from: "history", added: messages(4, 5, coreMessage) });
    expect(resyncs).toEqual([]);
  });

  test("without a known message in its history starts the list again", async () => {
    const { chat, resyncs, lose, greet } = await enter(messages(1, 3, coreMessage));
    await lose();
    greet(history(messages(100, 149, coreMessage)));
    expect(chat.messages).toEqual(messages(100, 149, coreMessage));
    expect(resyncs).toHaveLength(1);
  });

  test("shows all missed messages of an empty room, up to fifty", async () => {
    const few = await enter([]);
    await few.lose();
    few.greet(history(messages(1, 49, coreMessage)));
    expect(few.resyncs).toHaveLength(0);
    const many = await enter([]);
    await many.lose();
    many.greet(history(messages(1, 50, coreMessage)));
    expect(many.resyncs).toHaveLength(1);
  });

  test("may have older messages if its history is full", async () => {
    expect((await enter(messages(1, 50, coreMessage))).chat.hasOlder).toBe(true);
    expect((await enter(messages(1, 49, coreMessage))).chat.hasOlder).toBe(false);
  });
});

describe("frames", () => {
  test("of an unknown type are ignored, and so are unknown fields", async () => {
    const errors = reportedErrors();
    const { chat, network, received } = await enter(messages(1, 2));
    for (const type of ["poll", "", "constructor", "__proto__"]) network.last.say({ type, message: {} });
    network.last.say(live({ ...message(3), .../** @type {{}} */ ({ reactions: ["👍"] }) }));
    expect(seqs(chat)).toEqual([1, 2, 3]);
    expect(received).toHaveLength(2);
    expect(errors).toEqual([]);
  });

  test("for joins and leaves are passed on", async () => {
    const { chat, network } = await enter();
    const [joined, left] = [eventsOf(chat, "joined"), eventsOf(chat, "left")];
    const bo = { userId: "bo", userName: "Bo", timestamp: 1 };
    network.last.say({ type: "user_joined", ...bo });
    network.last.say({ type: "user_left", ...bo });
    expect(joined).toMatchObject([bo]);
    expect(left).toMatchObject([bo]);
  });

  test("for errors are passed on", async () => {
    const { network, errors } = await enter();
    network.last.say({ type: "error", code: "bad-json", message: "that is no JSON" });
    expect(errors).toMatchObject([{ code: "bad-json", message: "that is no JSON" }]);
  });
});

describe("our own user", () => {
  test.each([
    ["a dev token", { devToken: "ana:Ana" }],
    ["the claims of a JWT", { token: jwt({ sub: "ana" }) }],
  ])("is learned from %s", async (_, credentials) => {
    const { chat } = await knock({ credentials: () => credentials });
    expect(chat.userId).toBe("ana");
  });

  test("is the given one, whatever the credentials say", async () => {
    const { chat } = await knock({ userId: "given", credentials: () => ({ devToken: "ana:Ana" }) });
    expect(chat.userId).toBe("given");
  });

  test("is unknown with a cookie, until our first message is stored", async () => {
    const { chat, network } = await enter(messages(1, 1));
    expect(chat.userId).toBeUndefined();
    void chat.send("it is me");
    network.last.say(live(message(2, { userId: "ana", clientId: chat.pending[0]?.clientId })));
    expect(chat.userId).toBe("ana");
  });
});

describe("credentials", () => {
  test("are used for the socket, and called again when refused", async () => {
    const credentials = vi.fn(() => ({ devToken: "ana:Ana" }));
    const { network } = await knock({ credentials });
    expect(new URL(network.last.url).searchParams.get("token")).toBe("ana:Ana");
    network.last.drop(4401);
    await pass(0);
    expect(credentials.mock.calls).toEqual([[{ refused: false }], [{ refused: true }]]);
  });

  test("that are refused are explained by a request for a message", async () => {
    const fetch = fakeFetch(() => new Response("{}", { status: 403 }));
    const { chat, network } = await knock({ credentials: () => ({ token: "abc" }) });
    network.last.drop();
    await pass(500);
    network.last.drop();
    await pass(0);
    expect(fetch.mock.calls[0]?.[0]).toBe(`${BASE_URL}/rooms/lobby/messages?limit=1`);
    expect(fetch.mock.calls[0]?.[1]?.headers).toMatchObject({ Authorization: "Bearer abc" });
    expect(chat.snapshot).toMatchObject({ state: "closed", close: { code: 4403 } });
  });

  test("the times of the connection are configurable", async () => {
    const { chat } = await knock({ timing: { connectTimeoutMs: 100 } });
    await pass(100);
    expect(chat.state).toBe("waiting");
  });
});
