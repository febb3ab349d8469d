import { afterEach, expect, test, vi } from "vitest";
import { MuteClock } from "../../src/mute-clock.js";

const DAY_S = 24 * 60 * 60;

afterEach(() => void vi.useRealTimers());

// All of it in one go of the event loop: chats that earlier tests left in this process would otherwise set timers on
// the fake clock too, and tick through the thirty days.
test("a mute of thirty days outlasts the longest timer", () => {
  vi.useFakeTimers();
  const ended = vi.fn();
  const clock = new MuteClock(ended);
  clock.set(30 * DAY_S);
  ended.mockClear();
  vi.advanceTimersByTime(30 * DAY_S * 1_000 - 1);
  expect(ended).not.toHaveBeenCalled();
  vi.advanceTimersByTime(1);
  expect([ended.mock.calls.length, clock.until]).toEqual([1, undefined]);
});
