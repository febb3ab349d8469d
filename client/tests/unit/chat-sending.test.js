// @ts-check
import { describe, expect, test, vi } from "vitest";
import { Chat } from "../../src/chat.js";
import { SendError } from "../../src/pending-messages.js";
import {
  BASE_URL,
  codeOf,
  coreMessage,
  enter,
  history,
  knock,
  live,
  message,
  messages,
  seqs,
  storedAs,
} from "./chat-helpers.js";
import { eventsOf, pass, useFakeTime } from "./helpers.js";

useFakeTime();

const UNSURE_AFTER_MS = 9 * 60_000;

/** @param {Chat} chat */
const contents = (chat) => chat.pending.map(({ content }) => content);

/** @param {{ frames: any[] }} socket */
const sent = ({ frames }) => frames.filter(({ type }) => type === "message").map(({ content }) => content);

describe("sending", () => {
  test("a promise resolves with the stored message", async () => {
    const { chat, network, received } = await enter(messages(1, 2));
    const kept = chat.send("hello");
    const [own] = chat.pending;
    expect(own).toEqual({
      clientId: expect.any(String),
      content: "hello",
      state: "pending",
      createdAt: Date.now(),
      sentAt: Date.now(),
    });
    expect(network.last.frames).toEqual([{ type: "message", content: "hello", clientId: own?.clientId }]);
    const stored = storedAs(own, 3);
    network.last.say(live(stored));
    expect(await kept).toEqual(stored);
    expect(chat.pending).toEqual([]);
    expect(seqs(chat)).toEqual([1, 2, 3]);
    expect(received.at(-1)).toEqual({ from: "live", added: [stored] });
  });

  test("stored is emitted before messages", async () => {
    const { chat, network } = await enter();
    void chat.send("hello");
    const [own] = chat.pending;
    /** @type {unknown[]} */
    const emitted = [];
    chat.on("stored", ({ clientId, message }) => emitted.push([clientId, message.id]));
    chat.on("messages", ({ added }) => emitted.push(added.length));
    network.last.say(live(storedAs(own, 1)));
    expect(emitted).toEqual([[own?.clientId, "id 1"], 1]);
  });

  test("each message has its own clientId; every change is emitted", async () => {
    const { chat } = await enter();
    const changes = eventsOf(chat, "pending");
    void chat.send("same");
    const before = changes.length;
    void chat.send("same");
    expect(changes.length).toBeGreaterThan(before);
    expect(before).toBeGreaterThan(0);
    expect(new Set(chat.pending.map(({ clientId }) => clientId)).size).toBe(2);
    expect(chat.pending).toBe(chat.pending);
  });

  test("pending is emitted when a message is stored or discarded", async () => {
    const { chat, network } = await enter();
    void chat.send("one");
    void chat.send("two");
    const [one, two] = chat.pending;
    /** @type {string[][]} */
    const emitted = [];
    chat.on("pending", () => emitted.push(contents(chat)));
    network.last.say(live(storedAs(one, 1)));
    chat.discard(two?.clientId ?? "");
    expect(emitted).toEqual([["two"], []]);
  });

  test("a message of another user settles nothing by its text", async () => {
    const { chat, network } = await enter();
    void chat.send("hello");
    network.last.say(live(message(1, { content: "hello" })));
    network.last.say(live(message(2, { content: "hello", clientId: "of another" })));
    expect(contents(chat)).toEqual(["hello"]);
  });

  test.each(["", " ", "\n\t ", "\u3000"])("blank content is refused: %j", async (content) => {
    const { chat, network } = await enter();
    expect(await codeOf(chat.send(content))).toBe("empty");
    expect(chat.pending).toEqual([]);
    expect(network.last.sent).toEqual([]);
  });

  test("content is cut to 2,000 UTF-16 units, never within a pair", async () => {
    const { chat, network } = await enter();
    void chat.send("x".repeat(2_001));
    void chat.send(`${"x".repeat(1_999)}😀`);
    expect(sent(network.last)).toEqual(["x".repeat(2_000), "x".repeat(1_999)]);
    expect(contents(chat)).toEqual(["x".repeat(2_000), "x".repeat(1_999)]);
  });

  test("a closed room accepts no message", async () => {
    const { chat } = await enter();
    chat.close();
    const error = await chat.send("hello").catch((error) => error);
    expect(error).toBeInstanceOf(SendError);
    expect(error).toMatchObject({ name: "SendError", code: "not-connected" });
    expect(chat.pending).toEqual([]);
  });

  test("a hundred messages may wait, and no more", async () => {
    const { chat } = await knock();
    for (let number = 0; number < 100; number += 1) void chat.send(`number ${number}`);
    expect(await codeOf(chat.send("one more"))).toBe("too-many");
    expect(chat.pending).toHaveLength(100);
    chat.discard(chat.pending[0]?.clientId ?? "");
    void chat.send("one more");
    expect(contents(chat).at(-1)).toBe("one more");
  });

  test("the number of pending messages is configurable", async () => {
    const { chat } = await enter([], { pendingLimit: 1 });
    void chat.send("one");
    await expect(chat.send("two")).rejects.toThrow("1 messages are pending already");
  });

  test("an ignored promise rejects without an error on the console", async () => {
    const complaint = vi.fn();
    process.on("unhandledRejection", complaint);
    const { chat } = await enter();
    void chat.send("");
    void chat.send("hello");
    void chat.retry("nothing");
    chat.close();
    vi.useRealTimers();
    await new Promise((resolve) => setImmediate(resolve));
    process.off("unhandledRejection", complaint);
    expect(complaint).not.toHaveBeenCalled();
  });
});

describe("a message that waits for the connection", () => {
  test("is sent after the history, in the order of writing", async () => {
    const { chat, network, greet } = await knock();
    void chat.send("one");
    void chat.send("two");
    expect(chat.pending[0]?.sentAt).toBeUndefined();
    network.last.accept();
    void chat.send("three");
    expect(network.last.sent).toEqual([]);
    greet();
    expect(sent(network.last)).toEqual(["one", "two", "three"]);
    expect(new Set(network.last.frames.map(({ clientId }) => clientId)).size).toBe(3);
  });

  test("stays pending, however long there is no connection", async () => {
    const { chat, network, greet } = await knock();
    void chat.send("patient");
    network.last.drop(1013, "retry-after=3600");
    await pass(3_600_000);
    expect(chat.pending[0]?.state).toBe("pending");
    greet();
    expect(sent(network.last)).toEqual(["patient"]);
  });

  test("is sent once and in order, also if a listener sends too", async () => {
    const { chat, network, greet } = await knock();
    void chat.send("waited");
    const take = chat.on("messages", () => (take(), void chat.send("by the listener")));
    greet(history(messages(1, 2)));
    expect(sent(network.last)).toEqual(["waited", "by the listener"]);
  });

  test("is sent on the next connection if a listener closes this", async () => {
    const { chat, network, greet } = await knock();
    void chat.send("waited");
    const take = chat.on("messages", () => (take(), chat.reconnect()));
    greet(history(messages(1, 2)));
    await pass(0);
    greet(history([], true));
    expect(network.sockets.map(sent)).toEqual([[], ["waited"]]);
  });
});

describe("a message whose echo was lost", () => {
  test("is settled by the history if it was stored", async () => {
    const { chat, network, lose, greet } = await enter(messages(1, 2));
    const kept = chat.send("hello");
    const stored = storedAs(chat.pending[0], 3);
    await lose();
    expect(contents(chat)).toEqual(["hello"]);
    greet(history([stored, message(4)], true));
    expect(await kept).toEqual(stored);
    expect(network.last.sent).toEqual([]);
    expect(chat.pending).toEqual([]);
    expect(seqs(chat)).toEqual([1, 2, 3, 4]);
  });

  test("is sent again with the same clientId if it was not stored", async () => {
    const { chat, network, lose, greet } = await enter(messages(1, 2));
    const kept = chat.send("hello");
    const [own] = chat.pending;
    await lose();
    greet(history([message(3)], true));
    expect(network.last.frames).toEqual([{ type: "message", content: "hello", clientId: own?.clientId }]);
    network.last.say(live(storedAs(own, 4)));
    expect((await kept).seq).toBe(4);
    expect(seqs(chat)).toEqual([1, 2, 3, 4]);
  });

  test("is settled by the echo of a retry, however old", async () => {
    const { chat, network, lose, greet } = await enter(messages(1, 2));
    const kept = chat.send("hello");
    const stored = storedAs(chat.pending[0], 3);
    await lose();
    greet(history(messages(700, 749), false));
    network.last.say(live(stored));
    expect(await kept).toEqual(stored);
    expect(chat.pending).toEqual([]);
    expect(chat.messages).toEqual(messages(700, 749));
  });

  test("keeps its order, over any number of connections", async () => {
    const { chat, network, lose, greet } = await enter();
    void chat.send("one");
    void chat.send("two");
    for (let times = 0; times < 3; times += 1) {
      await lose();
      greet(history([], true));
      expect(sent(network.last)).toEqual(["one", "two"]);
    }
  });

  test("is sent again after a gap while its clientId is known", async () => {
    const { chat, network, greet } = await enter(messages(1, 2));
    void chat.send("hello");
    network.last.drop(1013, "retry-after=539");
    await pass(UNSURE_AFTER_MS - 1_000);
    greet(history(messages(700, 749), false));
    expect(sent(network.last)).toEqual(["hello"]);
  });

  test("is unsure after a gap if its clientId may be forgotten", async () => {
    const { chat, network, greet } = await enter(messages(1, 2));
    const kept = chat.send("hello");
    network.last.drop(1013, "retry-after=540");
    await pass(UNSURE_AFTER_MS);
    greet(history(messages(700, 749), false));
    expect(await codeOf(kept)).toBe("unsure");
    expect(chat.pending).toMatchObject([{ content: "hello", state: "failed", error: { code: "unsure" } }]);
    expect(network.last.sent).toEqual([]);
  });

  test("is sent again after any time if the history is complete", async () => {
    const { chat, network, greet } = await enter(messages(1, 2));
    void chat.send("hello");
    network.last.drop(1013, "retry-after=3600");
    await pass(3_600_000);
    greet(history([], true));
    expect(sent(network.last)).toEqual(["hello"]);
  });

  test("is not sent again after a later complete history", async () => {
    const { chat, network, greet } = await enter(messages(1, 2));
    const kept = chat.send("hello");
    chat.reconnect();
    await pass(0);
    greet(history(messages(700, 749), false));
    expect(sent(network.last)).toEqual(["hello"]);
    network.last.drop(1013, "retry-after=600");
    await pass(600_000);
    greet(history([], true));
    expect(network.last.sent).toEqual([]);
    expect(await codeOf(kept)).toBe("unsure");
  });

  test("is sent again to a server with seq that does not resume", async () => {
    const { chat, network, lose, greet } = await enter(messages(1, 2));
    void chat.send("hello");
    await lose();
    greet(history(messages(700, 749)));
    expect(sent(network.last)).toEqual(["hello"]);
  });

  test("that was never sent is sent, whatever was missed", async () => {
    const { chat, network, greet } = await enter(messages(1, 2));
    network.last.drop(1013, "retry-after=3600");
    void chat.send("hello");
    await pass(3_600_000);
    greet(history(messages(700, 749), false));
    expect(sent(network.last)).toEqual(["hello"]);
  });
});

describe("a message fails", () => {
  test("after thirty seconds without an echo over an open connection", async () => {
    const { chat, network } = await enter();
    const kept = chat.send("hello");
    await pass(20_000);
    network.last.say('{"type":"pong"}');
    await pass(9_999);
    expect(chat.pending[0]?.state).toBe("pending");
    await pass(1);
    expect(await codeOf(kept)).toBe("timeout");
    expect(chat.pending).toMatchObject([{ state: "failed", error: { code: "timeout" } }]);
  });

  test("and is settled by an echo that comes later", async () => {
    const { chat, network } = await enter();
    void chat.send("hello");
    const [own] = chat.pending;
    const stored = eventsOf(chat, "stored");
    await pass(25_000);
    network.last.say('{"type":"pong"}');
    await pass(5_000);
    network.last.say(live(storedAs(own, 1)));
    expect(chat.pending).toEqual([]);
    expect(stored).toHaveLength(1);
  });

  test("only while connected; the next connection restarts the time", async () => {
    const { chat, network, greet } = await enter();
    void chat.send("hello");
    await pass(10_000);
    network.last.drop(1013, "retry-after=60");
    await pass(60_000);
    greet(history([], true));
    await pass(19_000);
    network.last.say('{"type":"pong"}');
    await pass(10_999);
    expect(chat.pending[0]?.state).toBe("pending");
    await pass(1);
    expect(chat.pending[0]?.state).toBe("failed");
  });

  test("if the server refuses its clientId, with the server's text", async () => {
    const { chat, network, errors } = await enter();
    const [one, two] = [chat.send("one"), chat.send("two")];
    const refusal = { type: "error", code: "rate-limit", message: "slow down", clientId: chat.pending[0]?.clientId };
    network.last.say(refusal);
    await expect(one).rejects.toMatchObject({ code: "rate-limit", message: "slow down" });
    expect(chat.pending.map(({ state }) => state)).toEqual(["failed", "pending"]);
    expect(errors).toEqual([refusal]);
    network.last.say(live(storedAs(chat.pending[1], 1)));
    expect(await codeOf(two)).toBe("kept");
  });

  test.each(["key_reused", "storage_full"])(
    "with %s: it is shown, and not sent again after a reconnect",
    async (code) => {
      const { chat, network, lose, greet } = await enter();
      const kept = chat.send("hello");
      const clientId = chat.pending[0]?.clientId;
      network.last.say({ type: "error", code, message: "no", clientId });
      expect(await codeOf(kept)).toBe(code);
      expect(chat.pending).toMatchObject([{ clientId, state: "failed", error: { code, message: "no" } }]);
      await lose();
      greet(history([], true));
      expect(network.last.sent).toEqual([]);
      expect(chat.pending).toMatchObject([{ clientId, state: "failed" }]);
    },
  );

  test("not if an error has no clientId", async () => {
    const { chat, network } = await enter();
    void chat.send("hello");
    network.last.say({ type: "error", code: "bad-json", message: "no" });
    expect(chat.pending[0]?.state).toBe("pending");
  });

  test("when the room is left, all of them", async () => {
    const { chat } = await enter();
    const kept = [chat.send("one"), chat.send("two")];
    chat.close();
    expect(await Promise.all(kept.map(codeOf))).toEqual(["closed", "closed"]);
    expect(chat.pending.map(({ state }) => state)).toEqual(["failed", "failed"]);
  });

  test("when the room becomes forbidden", async () => {
    const { chat, network } = await enter();
    const kept = chat.send("hello");
    network.last.drop(4403, "kicked");
    expect(await codeOf(kept)).toBe("closed");
  });

  test("once: the first reason stays", async () => {
    const { chat, network } = await enter();
    void chat.send("hello");
    network.last.say({ type: "error", code: "rate-limit", message: "slow down", clientId: chat.pending[0]?.clientId });
    const before = chat.pending;
    chat.close();
    await pass(60_000);
    expect(chat.pending).toBe(before);
    expect(chat.pending[0]?.error?.code).toBe("rate-limit");
  });
});

describe("a failed message", () => {
  async function failed() {
    const all = await enter();
    void all.chat.send("hello");
    const clientId = all.chat.pending[0]?.clientId ?? "";
    await pass(10_000);
    all.network.last.say({ type: "error", code: "rate-limit", message: "slow down", clientId });
    return { ...all, clientId };
  }

  test("can be retried with the same clientId and a new promise", async () => {
    const { chat, network, clientId } = await failed();
    const kept = chat.retry(clientId);
    expect(chat.pending).toMatchObject([{ clientId, content: "hello", state: "pending" }]);
    expect(chat.pending[0]?.error).toBeUndefined();
    expect(network.last.frames.map((frame) => frame.clientId)).toEqual([clientId, clientId]);
    network.last.say(live(storedAs(chat.pending[0], 1)));
    expect(await codeOf(kept)).toBe("kept");
  });

  test("fails again after thirty more seconds without an echo", async () => {
    const { chat, network, clientId } = await failed();
    const kept = chat.retry(clientId);
    await pass(19_000);
    network.last.say({ type: "alive" });
    await pass(10_999);
    expect(chat.pending[0]?.state).toBe("pending");
    await pass(1);
    expect(await codeOf(kept)).toBe("timeout");
  });

  test("is not retried by itself", async () => {
    const { network, lose, greet } = await failed();
    await lose();
    greet(history([], true));
    expect(network.last.sent).toEqual([]);
  });

  test("that is retried offline is sent on the next connection", async () => {
    const { chat, network, clientId, greet } = await failed();
    network.last.drop();
    void chat.retry(clientId);
    expect(network.sockets).toHaveLength(1);
    await pass(500);
    greet(history([], true));
    expect(sent(network.last)).toEqual(["hello"]);
  });

  test("that is retried in a closed room stays failed", async () => {
    const { chat, clientId } = await failed();
    chat.close();
    expect(await codeOf(chat.retry(clientId))).toBe("not-connected");
    expect(chat.pending[0]?.state).toBe("failed");
  });

  test("of a room that was left can be retried on return", async () => {
    const { chat, network, greet } = await enter();
    void chat.send("hello");
    chat.close();
    chat.open();
    await pass(0);
    greet(history([], true));
    expect(network.last.sent).toEqual([]);
    void chat.retry(chat.pending[0]?.clientId ?? "");
    expect(sent(network.last)).toEqual(["hello"]);
  });

  test("can be discarded", async () => {
    const { chat, clientId } = await failed();
    chat.discard(clientId);
    chat.discard(clientId);
    expect(chat.pending).toEqual([]);
    expect(await codeOf(chat.retry(clientId))).toBe("discarded");
  });
});

test("a pending message cannot be retried; a discard rejects it", async () => {
  const { chat, network } = await enter();
  const kept = chat.send("hello");
  const clientId = chat.pending[0]?.clientId ?? "";
  expect(await codeOf(chat.retry(clientId))).toBe("discarded");
  expect(sent(network.last)).toEqual(["hello"]);
  chat.discard(clientId);
  expect(await codeOf(kept)).toBe("discarded");
  await pass(60_000);
  expect(chat.pending).toEqual([]);
});

test("a discarded message is never sent later", async () => {
  const { chat, network, greet } = await knock();
  void chat.send("one");
  void chat.send("two");
  chat.discard(chat.pending[0]?.clientId ?? "");
  greet();
  expect(sent(network.last)).toEqual(["two"]);
});

describe("a server with only the core", () => {
  /** @param {number} number @param {string} content */
  const echo = (number, content) => coreMessage(number, { userId: "ana", content });

  test("settles our first pending message with the same text", async () => {
    const { chat, network } = await enter([], { userId: "ana" });
    const [one, two] = [chat.send("same"), chat.send("same")];
    network.last.say(live(echo(1, "same")));
    expect(await one).toMatchObject({ id: "id 1" });
    expect(contents(chat)).toEqual(["same"]);
    network.last.say(live(echo(1, "same")));
    expect(contents(chat)).toEqual(["same"]);
    network.last.say(live(echo(2, "same")));
    expect(await two).toMatchObject({ id: "id 2" });
  });

  test("settles nothing by another user's message with the same text", async () => {
    const { chat, network } = await enter([], { userId: "ana" });
    void chat.send("same");
    network.last.say(live(coreMessage(1, { content: "same" })));
    expect(contents(chat)).toEqual(["same"]);
  });

  test("settles nothing that was not sent", async () => {
    const { chat, network, greet } = await knock({ userId: "ana" });
    void chat.send("same");
    greet(history([echo(1, "same")]));
    expect(sent(network.last)).toEqual(["same"]);
  });

  test("reveals our own user id by the first echo", async () => {
    const { chat, network } = await enter();
    void chat.send("it is me");
    network.last.say(live(echo(1, "something else")));
    expect(chat.userId).toBeUndefined();
    network.last.say(live(echo(2, "it is me")));
    expect(chat.userId).toBe("ana");
  });

  test("settles stored messages by its history, and gets the rest", async () => {
    const { chat, network, lose, greet } = await enter(messages(1, 2, coreMessage), { userId: "ana" });
    const [one, two] = [chat.send("one"), chat.send("two")];
    await lose();
    greet(history([coreMessage(2), echo(3, "one")]));
    expect(await codeOf(one)).toBe("kept");
    expect(sent(network.last)).toEqual(["two"]);
    network.last.say(live(echo(4, "two")));
    expect(await codeOf(two)).toBe("kept");
  });

  test.each([
    ["has moved on too far", messages(100, 149, coreMessage)],
    ["has forgotten all", []],
  ])("gets nothing twice if it %s, since it would store it twice", async (_, latest) => {
    const { chat, network, lose, greet } = await enter(messages(1, 2, coreMessage), { userId: "ana" });
    const kept = chat.send("hello");
    await lose();
    greet(history(latest));
    expect(network.last.sent).toEqual([]);
    expect(await codeOf(kept)).toBe("unsure");
  });
});

test("stored, discarded and failed messages leave no timer", async () => {
  const { chat, network } = await enter();
  for (const content of ["one", "two", "three"]) void chat.send(content);
  network.last.say(live(storedAs(chat.pending[0], 1)));
  chat.discard(chat.pending[0]?.clientId ?? "");
  chat.close();
  await pass(10);
  expect(vi.getTimerCount()).toBe(0);
});

test("a chat that was never opened accepts nothing", async () => {
  const chat = new Chat({ baseUrl: BASE_URL, roomId: "lobby" });
  expect(await codeOf(chat.send("hello"))).toBe("not-connected");
});
