// A file of its own: the clocks of other tests' chats would tick through the thirty days as well.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { MuteClock } from "../../src/mute-clock.js";

const DAY_S = 24 * 60 * 60;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("a mute of thirty days is no shorter, although a timer holds less", async () => {
  const ended = vi.fn();
  const clock = new MuteClock(ended);
  clock.set(30 * DAY_S);
  ended.mockClear();
  await vi.advanceTimersByTimeAsync(30 * DAY_S * 1_000 - 1);
  expect(ended).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(1);
  expect([ended.mock.calls.length, clock.until]).toEqual([1, undefined]);
});
