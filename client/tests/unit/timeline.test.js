// @ts-check
import { expect, test } from "vitest";
import { Timeline } from "../../src/timeline.js";
import { coreMessage, message, messages } from "./chat-helpers.js";

/** @param {import("../../src/protocol.js").ChatMessage[]} all */
function timelineOf(all) {
  const timeline = new Timeline();
  for (const each of all) timeline.add(each);
  return timeline;
}

/** @param {Timeline} timeline */
const seqs = (timeline) => timeline.messages.map(({ seq }) => seq);

test("messages are in the order of `seq`, however they come", () => {
  expect(seqs(timelineOf([3, 5, 4, 9, 7, 8].map((seq) => message(seq))))).toEqual([3, 4, 5, 7, 8, 9]);
});

test("each message stands there once", () => {
  const timeline = timelineOf(messages(1, 3));
  expect(timeline.add(message(2))).toBe(false);
  expect(timeline.add(message(4))).toBe(true);
  expect(timeline.size).toBe(4);
});

test("a message before all others is not added, as after a gap", () => {
  const timeline = timelineOf(messages(10, 12));
  expect(timeline.add(message(9))).toBe(false);
  expect(seqs(timeline)).toEqual([10, 11, 12]);
});

test("without `seq` the order of coming is the order", () => {
  const timeline = timelineOf([coreMessage(2), coreMessage(1), coreMessage(3)]);
  expect(timeline.messages.map(({ id }) => id)).toEqual(["id 2", "id 1", "id 3"]);
});

test("a message without `seq` comes after all that is there", () => {
  expect(timelineOf([message(5), coreMessage(1)]).messages.map(({ id }) => id)).toEqual(["id 5", "id 1"]);
});

test("a message with a `seq` comes after those without", () => {
  expect(timelineOf([coreMessage(1), message(5), message(4)]).messages.map(({ id }) => id)).toEqual([
    "id 1",
    "id 4",
    "id 5",
  ]);
});

test("the list is the same frozen array until it changes", () => {
  const timeline = timelineOf(messages(1, 2));
  const before = timeline.messages;
  timeline.add(message(2));
  expect(timeline.messages).toBe(before);
  expect(Object.isFrozen(before)).toBe(true);
  timeline.add(message(3));
  expect(timeline.messages).not.toBe(before);
  expect(before).toHaveLength(2);
});

test("its ends are known", () => {
  expect(timelineOf([]).firstSeq).toBeUndefined();
  expect(timelineOf([]).lastSeq).toBeUndefined();
  const timeline = timelineOf(messages(4, 7));
  expect([timeline.firstSeq, timeline.lastSeq]).toEqual([4, 7]);
});

test("an older page goes before the rest", () => {
  const timeline = timelineOf(messages(10, 12));
  const before = timeline.messages;
  expect(timeline.prepend(messages(7, 9))).toBe(3);
  expect(seqs(timeline)).toEqual([7, 8, 9, 10, 11, 12]);
  expect(timeline.messages).not.toBe(before);
  expect(timeline.has(message(8))).toBe(true);
});

test("of an overlapping page only older messages are added", () => {
  const timeline = timelineOf(messages(10, 12));
  expect(timeline.prepend(messages(8, 14))).toBe(2);
  expect(seqs(timeline)).toEqual([8, 9, 10, 11, 12]);
  expect(timeline.prepend(messages(8, 9))).toBe(0);
});

test("beyond 2,200 messages the oldest 200 are dropped together", () => {
  const timeline = timelineOf(messages(1, 2_200));
  expect(timeline.size).toBe(2_200);
  timeline.add(message(2_201));
  expect(timeline.size).toBe(2_001);
  expect(timeline.firstSeq).toBe(201);
  expect(timeline.has(message(200))).toBe(false);
  expect(timeline.has(message(201))).toBe(true);
});

test("loaded messages are kept beyond the limit", () => {
  const timeline = timelineOf(messages(101, 2_100));
  timeline.prepend(messages(1, 100));
  for (const each of messages(2_101, 2_300)) timeline.add(each);
  expect([timeline.firstSeq, timeline.size]).toEqual([1, 2_300]);
  timeline.add(message(2_301));
  expect([timeline.firstSeq, timeline.size]).toEqual([201, 2_101]);
});

test("replacing resets the ids and the limit", () => {
  const timeline = timelineOf(messages(101, 200));
  timeline.prepend(messages(1, 100));
  expect(timeline.messages).toHaveLength(200);
  timeline.replace([]);
  expect(timeline.messages).toEqual([]);
  timeline.replace(messages(50, 51));
  expect(seqs(timeline)).toEqual([50, 51]);
  expect(timeline.has(message(1))).toBe(false);
  for (const each of messages(52, 2_250)) timeline.add(each);
  expect(timeline.size).toBe(2_001);
});
