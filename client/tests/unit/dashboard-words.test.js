// @ts-check
import { expect, test } from "vitest";
import { bytes, duration, encode, number, percent, short, to, visible } from "../../../host/web/dashboard/dom.js";

test("every character of a name can be seen", () => {
  for (const [name, shown] of [
    ["lobby", "lobby"],
    ["Ünïcode 日本語 👩‍🚀", "Ünïcode 日本語 👩\\u{200d}🚀"],
    ["\u001B[2J\u0007", "\\u{1b}[2J\\u{7}"],
    ["\u202Egnp.exe\u2066", "\\u{202e}gnp.exe\\u{2066}"],
    ["a\r\nb\tc", "a\\u{d}\\u{a}b\\u{9}c"],
    ["zero\u200B\uFEFF\u00AD", "zero\\u{200b}\\u{feff}\\u{ad}"],
    ["two  spaces\u00A0\u3000", "two  spaces\\u{a0}\\u{3000}"],
    ["\uE000\u{10FFFF}\uD800", "\\u{e000}\\u{10ffff}\\u{d800}"],
    ["\u2028\u2029\u3164\u2800", "\\u{2028}\\u{2029}\\u{3164}\\u{2800}"],
    ["<b>&amp;</b>", "<b>&amp;</b>"],
  ]) {
    expect(visible(name ?? "")).toBe(shown);
  }
});

test("numbers have three digits and a unit", () => {
  expect([number(0), number(1234567), number(null)]).toEqual(["0", "1,234,567", "–"]);
  expect([short(0.123), short(48123), short(undefined)]).toEqual(["0.123", "48.1K", "–"]);
  expect([bytes(0), bytes(1023), bytes(1024), bytes(1.5 * 2 ** 30), bytes(null)]).toEqual([
    "0 B",
    "1023 B",
    "1.00 KiB",
    "1.50 GiB",
    "–",
  ]);
  expect([percent(0.873), percent(2), percent(0), percent(null)]).toEqual(["87 %", "200 %", "0 %", "–"]);
});

test("a duration has its two largest units", () => {
  for (const [seconds, shown] of /** @type {[number | null, string][]} */ ([
    [null, "–"],
    [0, "0 s"],
    [0.000043, "43 µs"],
    [0.0042, "4.2 ms"],
    [0.000999, "1 ms"],
    [0.9999, "1 s"],
    [3.42, "3.4 s"],
    [59.99, "1 min"],
    [310, "5 min 10 s"],
    [3_601, "1 h"],
    [93_784, "1 d 2 h"],
  ])) {
    expect(duration(seconds), String(seconds)).toBe(shown);
  }
});

test("a name in an address is one segment", () => {
  expect(encode("a/b?c#d%")).toBe("a%2Fb%3Fc%23d%25");
  expect(encode("half \uD83D")).toBe("half%20%EF%BF%BD");
  expect(to(["rooms", "ROOMS", "../x"], { sort: "cpu", prefix: "", after: undefined })).toBe(
    "#/rooms/ROOMS/..%2Fx?sort=cpu",
  );
});
