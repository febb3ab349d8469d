// @ts-check
import { describe, expect, test } from "vitest";
import { areSameLines, blocksOf, linesOf } from "../../src/view/lines.js";
import { message } from "./chat-helpers.js";

/** @typedef {import("../../src/view/lines.js").Line} Line */

const ANA = { userId: "ana", userName: "Ana" };
const MINUTE = 60_000;

/**
 * A local time of 5 March 2026, or of another day.
 *
 * @param {number} hour
 * @param {number} [day]
 */
const at = (hour, day = 5) => new Date(2026, 2, day, hour).getTime();

/**
 * @param {number} seq
 * @param {number} timestamp
 * @param {object} [rest]
 */
const sent = (seq, timestamp, rest) => message(seq, { timestamp, ...rest });

/**
 * @param {string} clientId
 * @param {number} createdAt
 * @returns {import("../../src/pending-messages.js").PendingMessage}
 */
const waiting = (clientId, createdAt) => ({ clientId, content: `own ${clientId}`, state: "pending", createdAt });

/**
 * @param {import("../../src/protocol.js").ChatMessage[]} messages
 * @param {import("../../src/pending-messages.js").PendingMessage[]} [pending]
 * @param {Map<string, string>} [clientIdByMessageId]
 */
const lines = (messages, pending = [], clientIdByMessageId = new Map()) =>
  linesOf({ messages, pending }, ANA, clientIdByMessageId);

/** @param {Line[]} all */
const shape = (all) => all.map((line) => (line.kind === "day" ? "day" : line.message.content));

/** @param {Line[]} all */
const groups = (all) => all.flatMap((line) => (line.kind === "message" ? [line.opensGroup] : []));

/** @param {Line[]} all */
const keys = (all) => all.map(({ key }) => key);

/** @param {Line[]} all */
function expectUniqueKeys(all) {
  expect(new Set(keys(all)).size).toBe(all.length);
}

test("an empty chat has no lines", () => {
  expect(lines([])).toEqual([]);
});

describe("days", () => {
  test("a line stands wherever a day begins", () => {
    const all = lines([sent(1, at(9)), sent(2, at(23)), sent(3, at(1, 6)), sent(4, at(9, 9))]);
    expect(shape(all)).toEqual(["day", "text 1", "text 2", "day", "text 3", "day", "text 4"]);
    expect(all[0]).toEqual({ kind: "day", key: `day ${at(0)}`, day: at(0) });
    expectUniqueKeys(all);
  });

  test("a clock set back over midnight begins no day twice", () => {
    const all = lines([sent(1, at(23)), sent(2, at(0, 6)), sent(3, at(23)), sent(4, at(1, 6))]);
    expect(shape(all)).toEqual(["day", "text 1", "day", "text 2", "text 3", "text 4"]);
    expectUniqueKeys(all);
  });

  test("a pending message may begin a day", () => {
    expect(shape(lines([sent(1, at(23))], [waiting("a", at(0, 6))]))).toEqual(["day", "text 1", "day", "own a"]);
  });
});

describe("groups", () => {
  test("messages of one user within five minutes are one group", () => {
    const start = at(9);
    const all = lines([sent(1, start), sent(2, start + 5 * MINUTE), sent(3, start + 10 * MINUTE)]);
    expect(groups(all)).toEqual([true, false, false]);
  });

  test("a pause of more than five minutes opens a new one", () => {
    expect(groups(lines([sent(1, at(9)), sent(2, at(9) + 5 * MINUTE + 1)]))).toEqual([true, true]);
  });

  test("another user opens a new one, even of the same name", () => {
    expect(groups(lines([sent(1, at(9)), sent(2, at(9), { userId: "bo 2" }), sent(3, at(9))]))).toEqual([
      true,
      true,
      true,
    ]);
  });

  test("a new day opens a new one", () => {
    expect(groups(lines([sent(1, at(0, 6) - 1), sent(2, at(0, 6))]))).toEqual([true, true]);
  });

  test("a pending message joins the user's group", () => {
    const own = sent(1, at(9), ANA);
    expect(groups(lines([own], [waiting("a", at(9)), waiting("b", at(9))]))).toEqual([true, false, false]);
    expect(groups(lines([sent(1, at(9))], [waiting("a", at(9))]))).toEqual([true, true]);
  });
});

describe("our own messages", () => {
  test("are distinguished from those of others", () => {
    const all = lines([sent(1, at(9), ANA), sent(2, at(9))], [waiting("a", at(9))]);
    expect(all.flatMap((line) => (line.kind === "message" ? [line.isOwn] : []))).toEqual([true, false, true]);
  });

  test("are last while they are pending", () => {
    const own = waiting("a", at(10));
    const all = lines([sent(1, at(9))], [own]);
    expect(all.at(-1)).toEqual({
      kind: "message",
      key: "own a",
      message: { userId: "ana", userName: "Ana", content: "own a", timestamp: at(10) },
      pending: own,
      isOwn: true,
      opensGroup: true,
    });
    expect(all[1]).toMatchObject({ pending: undefined });
  });

  test("are last even if this browser's clock is behind", () => {
    const all = lines([sent(1, at(9, 6))], [waiting("a", at(23)), waiting("b", at(22))]);
    expect(shape(all)).toEqual(["day", "text 1", "own a", "own b"]);
    expect(all.at(-1)).toMatchObject({ message: { timestamp: at(9, 6) } });
  });

  test("are recognised even if our user is unknown", () => {
    const me = { userId: undefined, userName: undefined };
    const all = linesOf({ messages: [sent(1, at(9))], pending: [waiting("a", at(9))] }, me, new Map());
    expect(all.at(-1)).toMatchObject({ isOwn: true, message: { userId: "", userName: "You" } });
    expect(all.at(-2)).toMatchObject({ isOwn: false });
  });
});

describe("keys", () => {
  test("a message keeps its line when it becomes stored", () => {
    const before = lines([sent(1, at(9))], [waiting("a", at(9))]);
    const after = lines([sent(1, at(9)), sent(2, at(9), { ...ANA, clientId: "a" })], [], new Map([["id 2", "a"]]));
    expect(keys(after)).toEqual(keys(before));
  });

  test("the clientId of other users names no line", () => {
    const messages = [1, 2, 3].map((seq) => sent(seq, at(9), { clientId: "a" }));
    const all = lines(messages, [waiting("a", at(9))]);
    expect(keys(all)).toEqual([`day ${at(0)}`, "stored id 1", "stored id 2", "stored id 3", "own a"]);
  });

  test("an id and a `clientId` that are the same text are two lines", () => {
    expectUniqueKeys(lines([sent(1, at(9), { id: "a" })], [waiting("a", at(9))]));
  });

  test("older messages change no key of those below", () => {
    const below = [sent(3, at(9)), sent(4, at(9, 6))];
    const all = lines([sent(1, at(8)), sent(2, at(8)), ...below]);
    expect(keys(all)).toEqual(expect.arrayContaining(keys(lines(below))));
  });
});

describe("blocks", () => {
  /** @param {number} from @param {number} to */
  const minutes = (from, to) =>
    Array.from({ length: to - from + 1 }, (_, index) => sent(from + index, at(9) + from + index));

  /** @param {Line[]} all */
  const contents = (all) => blocksOf(all).map((block) => [block.key, ...shape(block.lines)]);

  test("have fifty messages each, by `seq`", () => {
    const blocks = blocksOf(lines(minutes(1, 120)));
    expect(blocks.map(({ key }) => key)).toEqual(["block 0", "block 1", "block 2"]);
    expect(blocks.map((block) => shape(block.lines).at(-1))).toEqual(["text 49", "text 99", "text 120"]);
    expect(blocks.map((block) => block.lines.length)).toEqual([1 + 49, 50, 21]);
  });

  test("stay as they are when others come in above or below", () => {
    const before = blocksOf(lines(minutes(50, 149)));
    const after = blocksOf(lines(minutes(1, 300)));
    expect(after[2]).toEqual(before[1]);
    expect(before.map(({ key }) => key)).toEqual(["block 1", "block 2"]);
  });

  test("begin with the day of their first message", () => {
    expect(contents(lines([sent(49, at(9)), sent(50, at(9, 6)), sent(51, at(9, 7))]))).toEqual([
      ["block 0", "day", "text 49"],
      ["block 1", "day", "text 50", "day", "text 51"],
    ]);
  });

  test("have a pending message where it will most likely be stored", () => {
    const pending = [waiting("a", at(9)), waiting("b", at(9, 6)), waiting("c", at(9, 7))];
    expect(contents(lines([sent(47, at(9))], pending))).toEqual([
      ["block 0", "day", "text 47", "own a", "day", "own b"],
      ["block 1", "day", "own c"],
    ]);
    expect(contents(lines([sent(50, at(9))], pending.slice(0, 1)))).toEqual([["block 1", "day", "text 50", "own a"]]);
    expect(contents(lines([], pending.slice(0, 1)))).toEqual([["block 0", "day", "own a"]]);
  });

  test("are one block without `seq`", () => {
    const all = minutes(1, 120).map((message) => ({ ...message, seq: undefined }));
    expect(contents(lines(all, [waiting("a", at(9))]))).toHaveLength(1);
  });

  test("are empty without lines", () => {
    expect(blocksOf([])).toEqual([]);
  });
});

describe("lines that look the same", () => {
  const messages = [sent(1, at(9)), sent(2, at(9, 6))];
  const pending = [waiting("a", at(9, 6))];
  const before = lines(messages, pending);

  test("are those made again of the same chat", () => {
    expect(areSameLines(before, lines(messages, pending))).toBe(true);
    expect(areSameLines([], [])).toBe(true);
  });

  test.each([
    ["fewer", lines(messages)],
    ["more", lines([...messages, sent(3, at(9, 6))], pending)],
    ["none", []],
    ["others", lines([sent(1, at(9)), sent(3, at(9, 6))], pending)],
    ["ones under other keys", lines(messages, pending, new Map([["id 1", "b"]]))],
    ["ones of another day", lines([sent(1, at(9)), sent(2, at(9, 7))], pending)],
    [
      "ones with other words",
      lines([{ ...messages[0], ...message(1), timestamp: at(9), content: "edited" }, sent(2, at(9, 6))], pending),
    ],
    ["ones whose pending message has failed", lines(messages, [{ ...waiting("a", at(9, 6)), state: "failed" }])],
    [
      "ones whose pending message is stored",
      lines([...messages, sent(3, at(9, 6), ANA)], [], new Map([["id 3", "a"]])),
    ],
    ["ones that have become one's own", linesOf({ messages, pending }, { ...ANA, userId: "bo" }, new Map())],
  ])("are not %s", (_, after) => {
    expect(areSameLines(before, after)).toBe(false);
    expect(areSameLines(after, before)).toBe(false);
  });

  test("are not those that open a group and those that do not", () => {
    const [one, two] = [sent(1, at(9)), sent(2, at(9))];
    expect(areSameLines(lines([one, two]).slice(2), lines([two]).slice(1))).toBe(false);
  });

  test("are not those of a pending message whose time has moved on", () => {
    const own = waiting("a", at(9));
    const [early, late] = [lines([sent(1, at(10))], [own]), lines([sent(1, at(11))], [own])];
    expect(areSameLines(early.slice(-1), late.slice(-1))).toBe(false);
  });
});
