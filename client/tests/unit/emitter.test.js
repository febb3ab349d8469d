// @ts-check
import { afterEach, expect, test, vi } from "vitest";
import { Emitter } from "../../src/emitter.js";
import { reportedErrors } from "./helpers.js";

/** @extends {Emitter<{ news: number, weather: number }>} */
class Radio extends Emitter {
  /** @param {number} number */
  say(number) {
    this.emit("news", number);
  }
}

afterEach(() => vi.unstubAllGlobals());

test("listeners receive their events, in the order of adding", () => {
  const radio = new Radio();
  /** @type {string[]} */
  const received = [];
  radio.on("news", (number) => received.push(`first ${number}`));
  radio.on("news", (number) => received.push(`second ${number}`));
  radio.on("weather", (number) => received.push(`weather ${number}`));
  radio.say(1);
  expect(received).toEqual(["first 1", "second 1"]);
});

test("a removed listener receives nothing, and the others do", () => {
  const radio = new Radio();
  const [gone, stays] = [vi.fn(), vi.fn()];
  const take = radio.on("news", gone);
  radio.on("news", stays);
  take();
  take();
  radio.say(1);
  expect(gone).not.toHaveBeenCalled();
  expect(stays).toHaveBeenCalledOnce();
});

test("a listener added during an event receives the next one", () => {
  const radio = new Radio();
  const late = vi.fn();
  radio.on("news", () => radio.on("news", late));
  radio.say(1);
  expect(late).not.toHaveBeenCalled();
  radio.say(2);
  expect(late).toHaveBeenCalledExactlyOnceWith(2);
});

test("a listener that throws is reported; the others are called", () => {
  const errors = reportedErrors();
  const radio = new Radio();
  const other = vi.fn();
  radio.on("news", () => {
    throw new Error("bad news");
  });
  radio.on("news", other);
  radio.say(1);
  expect(other).toHaveBeenCalledOnce();
  expect(errors).toEqual([new Error("bad news")]);
});
