// @ts-check
import { describe, expect, test } from "vitest";
import { EventParser } from "../../src/event-parser.js";

const encoder = new TextEncoder();

/** @param {string | Uint8Array} stream */
const bytesOf = (stream) => (typeof stream === "string" ? encoder.encode(stream) : stream);

/** @param {...(string | Uint8Array)} chunks */
function read(...chunks) {
  const parser = new EventParser();
  return chunks.flatMap((chunk) => parser.push(bytesOf(chunk)));
}

/** @param {string} data @param {string} [id] @param {string} [type] */
const event = (data, id = "", type = "message") => ({ type, data, id });

describe("an event", () => {
  test("ends at a blank line", () => {
    expect(read("data: one\n\ndata: two\n\n")).toEqual([event("one"), event("two")]);
  });

  test("that is incomplete is not emitted", () => {
    expect(read("data: one\n\ndata: two\n")).toEqual([event("one")]);
    expect(read("data: one\n", "\n")).toEqual([event("one")]);
  });

  test("may use any of the three line ends", () => {
    expect(read("data: lf\n\ndata: cr\r\rdata: crlf\r\n\r\ndata: all\r\n\n\r")).toEqual(
      ["lf", "cr", "crlf", "all"].map((data) => event(data)),
    );
  });

  test("has as many lines as it has of data", () => {
    expect(read("data: one\ndata:  two\ndata:three\n\n")).toEqual([event("one\n two\nthree")]);
  });

  test("may have empty data, but not none", () => {
    expect(read("data\n\n")).toEqual([event("")]);
    expect(read("data\ndata\n\n")).toEqual([event("\n")]);
    expect(read("event: close\n\nid: 7\n\ndata: x\n\n")).toEqual([event("x", "7")]);
  });

  test("has its own type, and the next one the default", () => {
    expect(read("event: close\ndata: a\n\ndata: b\n\n")).toEqual([event("a", "", "close"), event("b")]);
  });

  test("has the latest id; an empty one clears it, NUL is ignored", () => {
    expect(read("id: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid\ndata: d\n\n")).toEqual([
      event("a", "1"),
      event("b", "1"),
      event("c", "1"),
      event("d", ""),
    ]);
  });
});

describe("nothing is made of", () => {
  test("comments, unknown fields, and fields in other letter case", () => {
    expect(read(": ping\n\n:\ndata: a\n: in between\nfoo: bar\nDATA: no\n data: no\n\n")).toEqual([event("a")]);
  });

  test("a byte order mark at the beginning; later it is a character", () => {
    expect(read("\uFEFFdata: a\n\n")).toEqual([event("a")]);
    expect(read("data: a\n\n\uFEFFdata: b\n\n")).toEqual([event("a")]);
  });

  test("bytes that are no UTF-8: they become replacement characters", () => {
    expect(read(new Uint8Array([...bytesOf("data: "), 0xff, ...bytesOf("\n\n")]))).toEqual([event("\uFFFD")]);
  });
});

test("the retry time is kept if it is a number", () => {
  const parser = new EventParser();
  expect(parser.retryMs).toBeUndefined();
  parser.push(bytesOf("retry: 1500\n"));
  expect(parser.retryMs).toBe(1_500);
  parser.push(bytesOf("retry: 1e9\nretry: -1\nretry\n"));
  expect(parser.retryMs).toBe(1_500);
});

describe("however the bytes are cut, the events are the same", () => {
  const stream = bytesOf(
    "\uFEFF: hello\r\n\r\nid: 1\rdata: é€😀\r\rdata: a\r\ndata: b\n\nevent: x\rid: ü\ndata\r\n\r\n\n\n\rdata:{}\n\r\ndata: z\r\n\r",
  );
  const expected = read(stream);

  test("which are not few", () => {
    expect(expected).toEqual([
      event("é€😀", "1"),
      event("a\nb", "1"),
      event("", "ü", "x"),
      event("{}", "ü"),
      event("z", "ü"),
    ]);
  });

  test("in two", () => {
    for (let cut = 0; cut <= stream.length; cut += 1) {
      expect(read(stream.slice(0, cut), stream.slice(cut)), `cut at ${cut}`).toEqual(expected);
    }
  });

  test("in three", () => {
    for (let first = 0; first <= stream.length; first += 1) {
      for (let second = first; second <= stream.length; second += 1) {
        const events = read(stream.slice(0, first), stream.slice(first, second), stream.slice(second));
        if (JSON.stringify(events) !== JSON.stringify(expected)) expect.fail(`cut at ${first} and ${second}`);
      }
    }
  });

  test("in single bytes, with empty pieces between them", () => {
    const pieces = Array.from(stream, (byte) => [new Uint8Array(), new Uint8Array([byte])]).flat();
    expect(read(...pieces)).toEqual(expected);
  });
});

describe("an endless event is refused", () => {
  test.each([
    ["a line", () => "data: ".padEnd(30, "x")],
    ["a line that comes in pieces", (/** @type {number} */ n) => (n === 0 ? "data: " : "xxx")],
    ["many lines of one event", () => "data: xxx\n"],
    ["many empty lines of one event", () => "data\n"],
    ["a comment", () => ": ".padEnd(30, "x")],
  ])("%s", (_, next) => {
    const parser = new EventParser(20);
    expect(() => {
      for (let pieces = 0; pieces < 100; pieces += 1) parser.push(bytesOf(next(pieces)));
    }).toThrow(RangeError);
  });

  test("an event of the exact limit is accepted", () => {
    const parser = new EventParser(20);
    for (let events = 0; events < 100; events += 1) {
      expect(parser.push(bytesOf("data: 12345678901234\n\n"))).toEqual([event("12345678901234")]);
    }
  });
});
