// @ts-check
import { afterEach, describe, expect, test, vi } from "vitest";
import { dayName, dayOf, timeOf } from "../../src/view/days.js";

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllEnvs();
});

/**
 * A local time of March 2026 or of another month.
 *
 * @param {number} day
 * @param {number} [hour]
 * @param {number} [month]
 * @param {number} [year]
 */
const at = (day, hour = 12, month = 3, year = 2026) => new Date(year, month - 1, day, hour).getTime();

test("all moments of a local day have the same day", () => {
  expect(dayOf(at(5, 0))).toBe(dayOf(at(5, 23)));
  expect(dayOf(at(5, 24) - 1)).toBe(dayOf(at(5)));
  expect(dayOf(at(5, 24))).toBe(dayOf(at(6)));
  expect(dayOf(at(5))).toBe(at(5, 0));
});

test("a time has hours and minutes", () => {
  expect(timeOf(at(5, 9))).toMatch(/9.00/);
  expect(timeOf(at(5, 9) + 5 * 60_000)).toMatch(/9.05/);
});

describe("the name of a day", () => {
  test("is today, yesterday, or the day", () => {
    vi.useFakeTimers({ now: at(5, 9) });
    const names = [5, 4, 3].map((day) => dayName(dayOf(at(day, 22)), Date.now()));
    expect(names).toEqual(["Today", "Yesterday", "Tuesday, March 3"]);
  });

  test("changes at midnight", () => {
    vi.useFakeTimers({ now: at(5, 24) - 1 });
    const day = dayOf(Date.now());
    expect(dayName(day, Date.now())).toBe("Today");
    vi.setSystemTime(at(6, 0));
    expect(dayName(day, Date.now())).toBe("Yesterday");
    vi.setSystemTime(at(7, 0));
    expect(dayName(day, Date.now())).toBe("Thursday, March 5");
  });

  test("is yesterday over the end of a month and of a year", () => {
    expect(dayName(dayOf(at(28, 12, 2)), at(1))).toBe("Yesterday");
    expect(dayName(dayOf(at(31, 12, 12, 2025)), at(1, 12, 1))).toBe("Yesterday");
  });

  test("has a year if it is not this one", () => {
    expect(dayName(dayOf(at(30, 12, 12, 2025)), at(1, 12, 1))).toBe("December 30, 2025");
    expect(dayName(dayOf(at(2, 12, 1)), at(5))).toBe("Friday, January 2");
  });

  test("uses the given words and locale", () => {
    const words = { today: "Heute", yesterday: "Gestern", locale: "de" };
    const names = [5, 4, 3].map((day) => dayName(dayOf(at(day)), at(5), words));
    expect(names).toEqual(["Heute", "Gestern", "Dienstag, 3. März"]);
    expect(dayName(dayOf(at(3)), at(5))).toBe("Tuesday, March 3");
    expect(dayName(dayOf(at(3, 12, 3, 2025)), at(5), words)).toBe("3. März 2025");
  });

  test("is yesterday also on the day after the clocks were changed", () => {
    vi.stubEnv("TZ", "Europe/Berlin");
    // 25 hours lie between these two midnights, and 23 between those.
    expect(dayName(dayOf(at(25, 12, 10)), at(26, 0, 10))).toBe("Yesterday");
    expect(dayName(dayOf(at(25, 12, 10)), at(26, 23, 10))).toBe("Yesterday");
    expect(dayName(dayOf(at(28)), at(29, 23))).toBe("Yesterday");
    expect(dayName(dayOf(at(29)), at(30, 0))).toBe("Yesterday");
  });
});
