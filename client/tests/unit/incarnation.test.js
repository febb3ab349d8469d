// @ts-check
/** A server that was restored from a backup or wiped: the numbers of its rooms mean other messages. */

import { describe, expect, test, vi } from "vitest";
import { Chat } from "../../src/chat.js";
import { BASE_URL, codeOf, enter, history, knock, live, message, messages, seqs, storedAs } from "./chat-helpers.js";
import { FakeServer } from "./fake-server.js";
import { pass, useFakeTime } from "./helpers.js";

useFakeTime();

/**
 * @param {import("../../src/protocol.js").ChatMessage[]} messages
 * @param {string} [incarnation]
 * @param {boolean} [resumed]
 */
const from = (messages, incarnation, resumed) => ({
  ...history(messages, resumed),
  ...(incarnation && { incarnation }),
});

/** A message of another incarnation: the same number, but another message. @param {number} seq */
const other = (seq) => message(seq, { id: `other ${seq}`, content: `other ${seq}` });

/** @param {import("./fake-socket.js").FakeSocket} socket */
const asked = ({ url }) => new URL(url).searchParams;

/** A chat that has seen 1 to 5 of the first incarnation, and whose connection is lost. */
async function seen() {
  const all = await knock();
  all.greet(from(messages(1, 5), "first"));
  await all.lose();
  return all;
}

describe("a history that names its incarnation", () => {
  test("is resumed within it", async () => {
    const { chat, network, greet, resyncs } = await seen();
    expect([asked(network.last).get("since"), asked(network.last).get("incarnation")]).toEqual(["5", "first"]);
    greet(from(messages(6, 7), "first", true));
    expect(seqs(chat)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(resyncs).toEqual([]);
  });

  test("is not sent before one was received", async () => {
    const { network } = await knock();
    expect(asked(network.last).has("incarnation")).toBe(false);
  });

  test("of a restored room removes messages that it lacks", async () => {
    const { chat, greet, network, resyncs, lose } = await seen();
    // The backup had 1 to 3, and eight messages have come since.
    greet(from([...messages(1, 3), ...[4, 5, 6, 7, 8, 9, 10, 11].map(other)], "second", false));
    expect(chat.messages.map(({ content }) => content).slice(2, 6)).toEqual([
      "text 3",
      "other 4",
      "other 5",
      "other 6",
    ]);
    expect(seqs(chat)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(resyncs).toHaveLength(1);
    await lose();
    expect([asked(network.last).get("since"), asked(network.last).get("incarnation")]).toEqual(["11", "second"]);
  });

  test("of a wiped room removes all old messages", async () => {
    const { chat, greet, network, lose } = await seen();
    greet(from([], "second", false));
    expect(seqs(chat)).toEqual([]);
    await lose();
    expect([asked(network.last).get("since"), asked(network.last).get("incarnation")]).toEqual(["0", "second"]);
    greet(from([other(1)], "second", true));
    expect(chat.messages).toEqual([other(1)]);
  });

  test("replaces the list even if the server says resumed", async () => {
    const { chat, greet } = await seen();
    greet(from([other(6)], "second", true));
    expect(chat.messages).toEqual([other(6)]);
    expect(chat.hasOlder).toBe(true);
  });

  test("keeps unsent messages, and sends them", async () => {
    const { chat, network, greet } = await seen();
    const stored = chat.send("kept");
    greet(from(messages(1, 3), "second", false));
    expect(network.last.frames).toMatchObject([{ type: "message", content: "kept" }]);
    network.last.say(live(storedAs(chat.pending[0], 4)));
    expect(await codeOf(stored)).toBe("kept");
    expect(seqs(chat)).toEqual([1, 2, 3, 4]);
  });

  test("sends lost messages again, with the same clientId", async () => {
    const all = await knock();
    all.greet(from(messages(1, 5), "first"));
    const stored = all.chat.send("lost with the disk");
    const [{ clientId }] = all.network.last.frames;
    await all.lose();
    all.greet(from(messages(1, 3), "second", false));
    expect(all.network.last.frames).toEqual([{ type: "message", content: "lost with the disk", clientId }]);
    all.network.last.say(live(storedAs(all.chat.pending[0], 4)));
    expect(await codeOf(stored)).toBe("kept");
  });

  test("is sent over events as well", async () => {
    const server = new FakeServer();
    vi.stubGlobal("fetch", server.fetch);
    const chat = new Chat({ baseUrl: BASE_URL, roomId: "lobby", transport: "events" });
    chat.open();
    await pass(0);
    server.stream.accept();
    server.stream.say(from(messages(1, 5), "first"));
    await pass(0);
    server.stream.end();
    await pass(500);
    expect(server.stream.url.search).toBe("?since=5&incarnation=first");
    server.stream.accept();
    server.stream.say(from([other(1)], "second", false));
    await pass(0);
    expect(chat.messages).toEqual([other(1)]);
  });
});

describe("a server without incarnations", () => {
  test("is resumed as usual", async () => {
    const { chat, network, lose, greet } = await enter(messages(1, 5));
    await lose();
    expect(asked(network.last).has("incarnation")).toBe(false);
    greet(history(messages(6, 6), true));
    expect(seqs(chat)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test("after one with them is asked without", async () => {
    const { chat, network, lose, greet } = await seen();
    greet(history(messages(6, 6), true));
    expect(seqs(chat)).toEqual([1, 2, 3, 4, 5, 6]);
    await lose();
    expect(asked(network.last).has("incarnation")).toBe(false);
  });

  test("before one with them is resumed", async () => {
    const { chat, network, lose, greet } = await enter(messages(1, 5));
    await lose();
    greet(from(messages(6, 6), "first", true));
    expect(seqs(chat)).toEqual([1, 2, 3, 4, 5, 6]);
    await lose();
    expect(asked(network.last).get("incarnation")).toBe("first");
  });
});
