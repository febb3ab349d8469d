// @ts-check
import { expect, test } from "vitest";
import { reason, shouldSleep } from "../../../host/web/dashboard/wakefulness.js";

const NOW = 1_800_000_000_000;
const ROOM = { awake: true, since: NOW - 3_600_000, messagesPerSecond: 0, awakeBecause: [] };

test("each reason is told in words", () => {
  for (const [because, words] of /** @type {const} */ ([
    [{ reason: "turn", since: NOW - 3_000 }, "a turn has run for 3 s"],
    [{ reason: "events-waiting", events: 1 }, "1 event waits for a turn"],
    [{ reason: "disk", turns: 2 }, "2 turns wait for the disk"],
    [{ reason: "events", perSecond: 12.345 }, "events come, 12 a second"],
    [{ reason: "timer", dueAt: NOW + 65_400 }, "a timer is due in 1 min 5 s"],
    [{ reason: "timer", dueAt: NOW - 1 }, "a timer is due now"],
    [{ reason: "posts", waiting: 4, dueAt: NOW + 500 }, "4 posts wait, the next is tried in 500 ms"],
    [{ reason: "posts", waiting: 1, dueAt: null }, "1 post waits, it is on its way"],
    [{ reason: "recent-event", sleepsAt: NOW + 8_000 }, "it had an event; it sleeps in 8 s"],
    [{ reason: "new-one" }, "new-one"],
  ])) {
    expect(reason(because, NOW)).toBe(words);
  }
});

test("a room should sleep if no client keeps it awake for a minute", () => {
  const timer = { ...ROOM, awakeBecause: [{ reason: "timer", dueAt: NOW }] };
  expect(shouldSleep(timer, NOW)).toBe(true);
  expect(shouldSleep({ ...timer, since: NOW - 59_000 }, NOW)).toBe(false);
  expect(shouldSleep({ ...timer, awake: false }, NOW)).toBe(false);
  expect(shouldSleep({ ...timer, messagesPerSecond: 1 }, NOW)).toBe(false);
  const recent = (/** @type {number} */ sleepsAt) => ({
    ...ROOM,
    awakeBecause: [{ reason: "recent-event", sleepsAt }],
  });
  expect(shouldSleep(recent(NOW + 1_000), NOW)).toBe(false);
  expect(shouldSleep(recent(NOW - 10_000), NOW)).toBe(true);
  expect(shouldSleep(ROOM, NOW)).toBe(false);
});
