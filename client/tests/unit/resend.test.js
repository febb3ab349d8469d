// @ts-check
import { expect, test } from "vitest";
import { afterHistory } from "../../src/resend.js";

const MINUTE = 60_000;

/** @param {Partial<Parameters<typeof afterHistory>[0]>} message Sent at 0, not seen, to a server that stores it once. */
const decide = (message) => afterHistory({ sentAt: 0, now: 0, isComplete: false, storesOnce: true, ...message });

test("what never left is sent", () => {
  expect(decide({ sentAt: undefined, now: 60 * MINUTE, storesOnce: false })).toBe("send");
});

test("what would be in view had it been stored is sent again, at any time and to any server", () => {
  expect(decide({ isComplete: true, now: 60 * MINUTE, storesOnce: false })).toBe("send");
});

test("what may have been stored unseen is sent again while the server knows it by its name", () => {
  expect(decide({ now: 9 * MINUTE - 1 })).toBe("send");
  expect(decide({ now: 9 * MINUTE })).toBe("give-up");
});

test("what may have been stored unseen is given up at once where the server would store it twice", () => {
  expect(decide({ storesOnce: false })).toBe("give-up");
});
