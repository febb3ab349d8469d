// @ts-check
import { describe, expect, test, vi } from "vitest";
import { MAX_EVENT_LENGTH } from "../../src/event-parser.js";
import { EventStream } from "../../src/event-stream.js";
import { FakeServer } from "./fake-server.js";
import { pass, useFakeTime } from "./helpers.js";

useFakeTime();

const TIMING = {
  connectTimeoutMs: 10_000,
  answerTimeoutMs: 10_000,
  streamTimeoutMs: 45_000,
  firstBackoffMs: 500,
  maxBackoffMs: 30_000,
};

const URL = "https://rooms.example/lobby/events?since=3";

/**
 * @param {(data: string | ArrayBuffer) => void} [listen] The page's listener.
 * @param {() => Promise<unknown>} [ask] Whether the server is there.
 */
async function asking(listen = () => {}, ask = async () => {}) {
  const server = new FakeServer();
  vi.stubGlobal("fetch", server.fetch);
  /** @type {any[]} */
  const happened = [];
  const poster = {
    post: () => ({ url: "https://rooms.example/lobby/messages", body: {} }),
    credentials: async () => undefined,
    answered: () => {},
    ask,
  };
  const stream = new EventStream({ url: URL, headers: { Authorization: "Bearer a" } }, TIMING, poster, {
    open: () => happened.push("open"),
    firstData: () => happened.push("first data"),
    message: (data) => {
      happened.push(data);
      listen(data);
    },
    pong: () => happened.push("pong"),
    end: (ending) => happened.push(ending),
  });
  await pass(0);
  return { server, stream, happened };
}

/** @param {() => Promise<unknown>} [ask] Whether the server is there. */
async function greeted(ask) {
  const all = await asking(undefined, ask);
  all.server.stream.accept();
  all.server.stream.say("hello");
  await pass(0);
  all.happened.length = 0;
  return all;
}

describe("an event stream", () => {
  test("is asked for with its credentials, and never from a cache", async () => {
    const fetch = vi.fn(new FakeServer().fetch);
    await asking();
    vi.stubGlobal("fetch", fetch);
    new EventStream({ url: URL, headers: { Authorization: "Bearer a" } }, TIMING, /** @type {any} */ ({}), {
      ...{ open() {}, firstData() {}, message() {}, pong() {}, end() {} },
    }).close();
    expect(fetch).toHaveBeenCalledExactlyOnceWith(URL, {
      headers: { Accept: "text/event-stream", Authorization: "Bearer a" },
      credentials: "include",
      cache: "no-store",
      signal: expect.any(AbortSignal),
    });
  });

  test("opens with the answer, and passes events on unchanged", async () => {
    const { server, happened } = await asking();
    server.stream.accept();
    await pass(0);
    expect(happened).toEqual(["open"]);
    server.stream.write('id: 3\ndata: {"type":"history"}\n\n: ping\n\ndata: one\nda');
    server.stream.write("ta: two\n\nevent: other\ndata: not for us\n\n");
    await pass(0);
    expect(happened).toEqual(["open", "first data", '{"type":"history"}', "one\ntwo"]);
  });

  test("that is left emits nothing more, and its request is aborted", async () => {
    const { server, stream, happened } = await greeted();
    server.stream.say("one");
    stream.close();
    server.stream.say("two");
    await pass(60_000);
    expect(happened).toEqual([]);
    expect(server.stream.isAborted).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("that is left before it opened is given up", async () => {
    const { server, stream, happened } = await asking();
    stream.close();
    await pass(60_000);
    expect(server.stream.isAborted).toBe(true);
    expect(happened).toEqual([]);
  });

  test("that a listener closes emits no further event", async () => {
    const { server, stream, happened } = await asking(() => stream.close());
    server.stream.accept();
    server.stream.write("data: one\n\ndata: two\n\n");
    await pass(0);
    expect(happened).toEqual(["open", "first data", "one"]);
  });
});

describe("it ends", () => {
  test.each([
    [401, 4401, "closed"],
    [403, 4403, "closed"],
    [429, 4429, "closed"],
    [503, 1013, "closed"],
    [500, 1006, "closed"],
    [502, 1006, "closed"],
    [204, 1006, "closed"],
    [404, 1006, "absent"],
    [405, 1006, "absent"],
    [501, 1006, "absent"],
  ])("with HTTP %i as with %i, %s", async (status, code, cause) => {
    const { server, happened } = await asking();
    server.stream.answer({ status });
    await pass(60_000);
    expect(happened).toEqual([{ code, reason: `HTTP ${status}`, opened: false, received: false, cause }]);
  });

  test("with the hint that the server gives", async () => {
    const { server, happened } = await asking();
    server.stream.answer({ status: 503, headers: { "Retry-After": "7" } });
    await pass(0);
    expect(happened).toMatchObject([{ code: 1013, reason: "HTTP 503 retry-after=7" }]);
  });

  test("if the answer is not an event stream, such as a hotel's page", async () => {
    const { server, happened } = await asking();
    server.stream.accept("text/html");
    await pass(0);
    expect(happened).toMatchObject([{ code: 1006, reason: "no event stream but text/html", opened: false }]);
    expect(server.stream.isAborted).toBe(true);
  });

  test("without a network", async () => {
    const { server, happened } = await asking();
    server.stream.fail(new TypeError("no network"));
    await pass(0);
    expect(happened).toMatchObject([{ code: 1006, opened: false, received: false, cause: "closed" }]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("without an answer within ten seconds", async () => {
    const { server, happened } = await asking();
    await pass(9_999);
    expect(happened).toEqual([]);
    await pass(1);
    expect(happened).toMatchObject([{ code: 1006, opened: false, cause: "late" }]);
    expect(server.stream.isAborted).toBe(true);
  });

  test("if it opens and sends nothing for ten seconds", async () => {
    const { server, happened } = await asking();
    server.stream.accept();
    await pass(9_999);
    expect(happened).toEqual(["open"]);
    await pass(1);
    expect(happened.at(-1)).toMatchObject({ code: 1006, opened: true, received: false, cause: "mute" });
  });

  test("after 45 s without a byte; a comment counts", async () => {
    const { server, happened } = await greeted();
    for (let signs = 0; signs < 4; signs += 1) {
      await pass(44_000);
      if (signs % 2) server.stream.ping();
      else server.stream.write("da");
      await pass(0);
    }
    expect(happened).toEqual([]);
    await pass(44_999);
    expect(happened).toEqual([]);
    await pass(1);
    expect(happened).toMatchObject([{ code: 1006, opened: true, received: true, cause: "silent" }]);
    expect(server.stream.isAborted).toBe(true);
  });

  test("at once if it is overdue when a sleeping page wakes", async () => {
    const { stream, happened } = await greeted();
    vi.setSystemTime(Date.now() + 44_999);
    stream.probe();
    await pass(0);
    expect(happened).toEqual([]);
    vi.setSystemTime(Date.now() + 1);
    stream.probe();
    expect(happened).toMatchObject([{ cause: "silent" }]);
  });

  test.each([
    ["breaks", () => Promise.reject(new Error("no network")), 1],
    ["does not answer within ten seconds", () => new Promise(() => {}), 10_000],
  ])("after a doubt, if a probe of the server %s", async (_, ask, ms) => {
    const question = vi.fn(ask);
    const { server, stream, happened } = await greeted(question);
    stream.probe();
    stream.probe();
    server.stream.ping(); // it may have been in transit
    if (ms > 1) await pass(ms - 1);
    expect(happened).toEqual([]);
    await pass(1);
    expect(happened).toMatchObject([{ code: 1006, reason: "no answer over HTTP", opened: true, cause: "silent" }]);
    expect(question).toHaveBeenCalledOnce();
    expect(vi.getTimerCount()).toBe(0);
  });

  test("not during a probe after it was closed", async () => {
    /** @type {(error: Error) => void} */
    let refuse = () => {};
    const { stream, happened } = await greeted(() => new Promise((_, reject) => (refuse = reject)));
    stream.probe();
    await pass(0);
    stream.close();
    refuse(new Error("no network"));
    await pass(0);
    expect(happened).toEqual([]);
  });

  test("not by a probe that is answered; the next one asks again", async () => {
    const question = vi.fn(async () => {});
    const { stream, happened } = await greeted(question);
    for (let doubts = 0; doubts < 3; doubts += 1) {
      stream.probe();
      await pass(0);
    }
    expect(question).toHaveBeenCalledTimes(3);
    expect(happened).toEqual([]);
    stream.close();
    stream.probe();
    await pass(0);
    expect(question).toHaveBeenCalledTimes(3);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("not by a probe that finds it just opened", async () => {
    const { server, stream, happened } = await asking();
    stream.probe();
    server.stream.accept();
    await pass(0);
    stream.probe();
    expect(happened).toEqual(["open"]);
  });

  test("with the code and reason of a close event", async () => {
    const { server, happened } = await greeted();
    server.stream.write('data: last\n\nevent: close\ndata: {"code":1001,"reason":"retry-after=2"}\n\ndata: more\n\n');
    server.stream.end();
    await pass(0);
    expect(happened).toEqual([
      "last",
      { code: 1001, reason: "retry-after=2", opened: true, received: true, cause: "closed" },
    ]);
  });

  test.each(["no JSON", "null", '{"code":"x"}', "{}"])(
    "with a goodbye that says %s as one that was lost",
    async (data) => {
      const { server, happened } = await greeted();
      server.stream.write(`event: close\ndata: ${data}\n\n`);
      await pass(0);
      expect(happened).toMatchObject([{ code: 1006 }]);
    },
  );

  test("as lost without a close event, with its retry time as hint", async () => {
    const { server, happened } = await greeted();
    server.stream.write("retry: 2500\n\n");
    server.stream.end();
    await pass(0);
    expect(happened).toEqual([
      { code: 1006, reason: "the stream ended retry-after=2.5", opened: true, received: true, cause: "closed" },
    ]);
  });

  test("if it breaks", async () => {
    const { server, happened } = await greeted();
    server.stream.fail(new TypeError("network error"));
    await pass(0);
    expect(happened).toMatchObject([{ code: 1006, opened: true, cause: "closed" }]);
  });

  test("on an endless event", async () => {
    const { server, happened } = await greeted();
    server.stream.write(`data: ${"x".repeat(MAX_EVENT_LENGTH)}`);
    await pass(0);
    expect(happened).toMatchObject([{ code: 1009, opened: true }]);
  });

  test("once", async () => {
    const { server, happened } = await greeted();
    server.stream.bye(1001);
    server.stream.fail(new TypeError("network error"));
    await pass(60_000);
    expect(happened).toHaveLength(1);
    expect(vi.getTimerCount()).toBe(0);
  });
});

test("a busy stream costs no timer for each event", async () => {
  const { server, happened } = await greeted();
  const timers = vi.spyOn(globalThis, "setTimeout");
  for (let events = 0; events < 100; events += 1) server.stream.say("news");
  for (let turns = 0; turns < 1_000; turns += 1) await null;
  expect(happened).toHaveLength(100);
  expect(timers).not.toHaveBeenCalled();
});
