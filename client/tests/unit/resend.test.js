// @ts-check
import { expect, test } from "vitest";
import { afterHistory } from "../../src/resend.js";

const MINUTE = 60_000;

/** @param {Partial<Parameters<typeof afterHistory>[0]>} message Sent at 0, not seen; the server stores it once. */
const decide = (message) => afterHistory({ sentAt: 0, now: 0, isComplete: false, storesOnce: true, ...message });

test("a message that was never sent is sent", () => {
  expect(decide({ sentAt: undefined, now: 60 * MINUTE, storesOnce: false })).toBe("send");
});

test("a message missing from a complete history is sent again", () => {
  expect(decide({ isComplete: true, now: 60 * MINUTE, storesOnce: false })).toBe("send");
});

test("a stored message is sent again while its clientId is known", () => {
  expect(decide({ now: 9 * MINUTE - 1 })).toBe("send");
  expect(decide({ now: 9 * MINUTE })).toBe("give-up");
});

test("a message that would be stored twice is given up", () => {
  expect(decide({ storesOnce: false })).toBe("give-up");
});
