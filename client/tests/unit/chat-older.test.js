// @ts-check
import { expect, test, vi } from "vitest";
import { BASE_URL, coreMessage, enter, history, live, message, messages, seqs, storedAs } from "./chat-helpers.js";
import { fakeFetch, pass, useFakeTime } from "./helpers.js";

useFakeTime();

/**
 * A server with these messages, that answers page by page.
 *
 * @param {number} count
 */
function serverWith(count) {
  return fakeFetch((url) => {
    const before = Number(url.searchParams.get("before"));
    const first = Math.max(1, before - Number(url.searchParams.get("limit")));
    return Response.json({ messages: messages(first, Math.min(count, before - 1)), hasMore: first > 1 });
  });
}

test("older messages come page by page, until there are none", async () => {
  const fetch = serverWith(170);
  const { chat, received } = await enter(messages(121, 170));
  expect(chat.hasOlder).toBe(true);
  expect(await chat.loadOlder()).toBe(50);
  expect(fetch.mock.lastCall?.[0]).toBe(`${BASE_URL}/rooms/lobby/messages?before=121&limit=50`);
  expect(received.at(-1)).toEqual({ from: "older", added: messages(71, 120) });
  expect(await chat.loadOlder()).toBe(50);
  expect(chat.hasOlder).toBe(true);
  expect(await chat.loadOlder()).toBe(20);
  expect(chat.hasOlder).toBe(false);
  expect(seqs(chat)).toEqual(messages(1, 170).map(({ seq }) => seq));
});

test("nothing is requested when there are no older messages", async () => {
  const fetch = serverWith(3);
  const { chat } = await enter(messages(1, 3));
  expect(chat.hasOlder).toBe(false);
  expect(await chat.loadOlder()).toBe(0);
  expect(fetch).not.toHaveBeenCalled();
});

test("nothing is requested before the first history", async () => {
  const fetch = serverWith(3);
  const { chat } = await enter([]);
  expect(await chat.loadOlder()).toBe(0);
  expect(fetch).not.toHaveBeenCalled();
});

test("a call during a request shares its result", async () => {
  const fetch = serverWith(100);
  const { chat } = await enter(messages(91, 100));
  expect(await Promise.all([chat.loadOlder(), chat.loadOlder(), chat.loadOlder()])).toEqual([50, 50, 50]);
  expect(fetch).toHaveBeenCalledOnce();
  await chat.loadOlder();
  expect(fetch).toHaveBeenCalledTimes(2);
});

test("each page is requested with fresh credentials", async () => {
  const credentials = vi.fn(() => ({ token: "abc" }));
  const fetch = serverWith(100);
  const { chat } = await enter(messages(91, 100), { credentials });
  await chat.loadOlder();
  expect(credentials.mock.calls).toEqual([[{ refused: false }], [{ refused: false }]]);
  expect(fetch.mock.lastCall?.[1]?.headers).toMatchObject({ Authorization: "Bearer abc" });
});

test("an error rejects, and the next call may succeed", async () => {
  const { chat } = await enter(messages(91, 100));
  fakeFetch(() => Response.json({ detail: "slow down" }, { status: 429 }));
  await expect(chat.loadOlder()).rejects.toMatchObject({ name: "HttpError", status: 429, message: "slow down" });
  expect(chat.hasOlder).toBe(true);
  expect(chat.messages).toHaveLength(10);
  serverWith(100);
  expect(await chat.loadOlder()).toBe(50);
});

test("messages that arrive meanwhile do not disturb the page", async () => {
  serverWith(100);
  const { chat, network } = await enter(messages(91, 100));
  const loading = chat.loadOlder();
  network.last.say(live(message(101)));
  expect(await loading).toBe(50);
  expect(seqs(chat)).toEqual(messages(41, 101).map(({ seq }) => seq));
});

test("a page is dropped after a resync: it would precede a gap", async () => {
  /** @type {(response: Response) => void} */
  let answer = () => {};
  fakeFetch(() => new Promise((resolve) => (answer = resolve)));
  const { chat, received, lose, greet } = await enter(messages(91, 100));
  const loading = chat.loadOlder();
  await lose();
  greet(history(messages(700, 749), false));
  const before = received.length;
  answer(Response.json({ messages: messages(41, 90), hasMore: false }));
  expect(await loading).toBe(0);
  expect(seqs(chat)).toEqual(messages(700, 749).map(({ seq }) => seq));
  expect(chat.hasOlder).toBe(true);
  expect(received).toHaveLength(before);
});

test("a loaded page stays while new messages arrive", async () => {
  serverWith(100);
  const { chat, network } = await enter(messages(51, 100));
  await chat.loadOlder();
  for (const each of messages(101, 2_250)) network.last.say(live(each));
  expect([chat.messages[0]?.seq, chat.messages.length]).toEqual([1, 2_250]);
});

test("a page settles an unsure message of ours", async () => {
  const { chat, network, received, greet } = await enter(messages(1, 2));
  void chat.send("hello");
  const own = chat.pending[0];
  network.last.drop(1013, "retry-after=600");
  await pass(600_000);
  greet(history(messages(51, 100), false));
  expect(chat.pending[0]?.error?.code).toBe("unsure");

  const stored = storedAs(own, 3);
  fakeFetch(() => Response.json({ messages: [stored, ...messages(4, 50)], hasMore: true }));
  chat.on("stored", ({ clientId }) => received.push(clientId));
  await chat.loadOlder();
  expect(chat.pending).toEqual([]);
  expect(chat.messages[0]).toEqual(stored);
  expect(received.slice(-2)).toEqual([own?.clientId, { from: "older", added: [stored, ...messages(4, 50)] }]);
});

test("a page settles nothing by its text alone", async () => {
  const stored = coreMessage(1, { userId: "ana", content: "hello" });
  fakeFetch(() => Response.json({ messages: [stored, ...messages(2, 51, coreMessage)] }));
  const { chat } = await enter(messages(2, 51, coreMessage), { userId: "ana" });
  void chat.send("hello");
  expect(await chat.loadOlder()).toBe(1);
  expect(chat.pending).toHaveLength(1);
});

test("a server with only the core shows everything in one page", async () => {
  const fetch = fakeFetch(() => Response.json({ messages: messages(1, 100, coreMessage) }));
  const { chat } = await enter(messages(51, 100, coreMessage));
  expect(await chat.loadOlder()).toBe(50);
  expect(fetch.mock.lastCall?.[0]).toBe(`${BASE_URL}/rooms/lobby/messages`);
  expect(chat.messages).toEqual(messages(1, 100, coreMessage));
  expect(chat.hasOlder).toBe(false);
});
