// @ts-check
import { describe, expect, test, vi } from "vitest";
import { PostQueue } from "../../src/post-queue.js";
import { FakeServer } from "./fake-server.js";
import { pass, useFakeTime } from "./helpers.js";

useFakeTime();

const TIMING = { connectTimeoutMs: 10_000, firstBackoffMs: 500, maxBackoffMs: 30_000 };
const MESSAGES = "https://rooms.example/lobby/messages";

/** @typedef {import("../../src/credentials.js").Credentials} Credentials */

/** @param {() => Promise<Credentials>} [credentials] */
function queue(credentials = async () => undefined) {
  const server = new FakeServer();
  vi.stubGlobal("fetch", server.fetch);
  /** @type {any[]} */
  const answers = [];
  /** @type {any[]} */
  const failures = [];
  const posts = new PostQueue(TIMING, {
    post: (data) => (data === "not worth it" ? undefined : { url: MESSAGES, body: { content: data } }),
    credentials,
    answered: (data, answer) => answers.push([data, answer]),
    failed: (close) => failures.push(close),
  });
  return { server, posts, answers, failures };
}

/** @param {FakeServer} server */
const posted = (server) => server.posts.map(({ body }) => body.content);

describe("a message", () => {
  test("is posted at once, as JSON and with the credentials", async () => {
    const { server, posts } = queue(async () => ({ token: "abc" }));
    posts.push("one");
    await pass(0);
    expect(server.post).toMatchObject({
      url: { href: MESSAGES },
      headers: { "Content-Type": "application/json", Authorization: "Bearer abc" },
      credentials: "include",
      body: { content: "one" },
    });
  });

  test("is posted after the one before it", async () => {
    const { server, posts, answers } = queue();
    for (const content of ["one", "two", "three"]) posts.push(content);
    await pass(5_000);
    expect(posted(server)).toEqual(["one"]);
    server.post.answer({ status: 200, body: { success: true } });
    await pass(0);
    expect(posted(server)).toEqual(["one", "two"]);
    expect(answers).toEqual([["one", { status: 200, body: { success: true } }]]);
    server.post.answer({ status: 400 });
    await pass(0);
    expect(posted(server)).toEqual(["one", "two", "three"]);
    server.post.answer({ status: 200 });
    await pass(0);
    posts.push("four");
    await pass(0);
    expect(posted(server)).toEqual(["one", "two", "three", "four"]);
  });

  test("and is not worth a request takes no place", async () => {
    const { server, posts, answers } = queue();
    posts.push("not worth it");
    posts.push("one");
    await pass(0);
    expect(posted(server)).toEqual(["one"]);
    expect(answers).toEqual([]);
    expect(posts.bytes).toBe(3);
  });

  test("counts until it is answered", async () => {
    const { server, posts } = queue();
    posts.push("é");
    posts.push("four");
    expect(posts.bytes).toBe(6);
    await pass(0);
    server.post.answer({ status: 200 });
    await pass(0);
    expect(posts.bytes).toBe(4);
  });

  test.each([400, 403, 404, 409, 413, 429, 500])("and is refused with %i is not tried again", async (status) => {
    const { server, posts, answers, failures } = queue();
    posts.push("one");
    await pass(0);
    server.post.answer({ status, body: { detail: "no" } });
    await pass(60_000);
    expect(answers).toEqual([["one", { status, body: { detail: "no" } }]]);
    expect(server.posts).toHaveLength(1);
    expect(failures).toEqual([]);
  });
});

describe("a request without an answer", () => {
  test("is repeated after longer and longer waits, before others", async () => {
    const { server, posts, answers, failures } = queue();
    posts.push("one");
    posts.push("two");
    await pass(0);
    for (const wait of [500, 1_000, 2_000]) {
      server.post.fail();
      const before = server.posts.length;
      await pass(wait - 1);
      expect(server.posts).toHaveLength(before);
      await pass(1);
      expect(server.posts).toHaveLength(before + 1);
    }
    server.post.answer({ status: 200 });
    await pass(0);
    expect(posted(server)).toEqual(["one", "one", "one", "one", "two"]);
    expect(answers).toHaveLength(1);
    expect(failures).toEqual([]);
  });

  test.each([502, 504])("since the server is not there (%i) likewise", async (status) => {
    const { server, posts } = queue();
    posts.push("one");
    await pass(0);
    server.post.answer({ status });
    await pass(500);
    expect(posted(server)).toEqual(["one", "one"]);
  });

  test("refused as too busy waits as long as the server hints", async () => {
    const { server, posts } = queue();
    posts.push("one");
    await pass(0);
    server.post.answer({ status: 503, headers: { "Retry-After": "3" } });
    await pass(2_999);
    expect(server.posts).toHaveLength(1);
    await pass(1);
    expect(server.posts).toHaveLength(2);
  });

  test("refused as too busy keeps the backoff, whatever the hint", async () => {
    const { server, posts } = queue();
    posts.push("one");
    await pass(0);
    for (const wait of [500, 1_000, 2_000, 4_000]) {
      const before = server.posts.length;
      server.post.answer({ status: 503, headers: { "Retry-After": "0" } });
      await pass(wait - 1);
      expect(server.posts).toHaveLength(before);
      await pass(1);
      expect(server.posts).toHaveLength(before + 1);
    }
  });

  test("within ten seconds is given up and made again", async () => {
    const { server, posts } = queue();
    posts.push("one");
    await pass(9_999);
    expect(server.post.isAborted).toBe(false);
    await pass(1);
    expect(server.post.isAborted).toBe(true);
    await pass(500);
    expect(server.posts).toHaveLength(2);
  });

  test("for thirty seconds ends the connection and drops the queue", async () => {
    const { server, posts, failures } = queue();
    posts.push("one");
    posts.push("two");
    server.replies = "no network";
    await pass(60_000);
    expect(failures).toEqual([{ code: 1006, reason: expect.stringContaining("not posted") }]);
    expect(posted(server)).not.toContain("two");
    expect(posts.bytes).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("ends the connection at once if the hint is longer than that", async () => {
    const { server, posts, failures } = queue();
    posts.push("one");
    await pass(0);
    server.post.answer({ status: 503, headers: { "Retry-After": "31" } });
    await pass(0);
    expect(failures).toEqual([{ code: 1013, reason: "HTTP 503 retry-after=31" }]);
  });
});

describe("credentials", () => {
  test("are asked for before each request", async () => {
    let count = 0;
    const { server, posts } = queue(async () => ({ ticket: `t${(count += 1)}` }));
    posts.push("one");
    posts.push("two");
    await pass(0);
    server.post.fail();
    await pass(500);
    server.post.answer({ status: 200 });
    await pass(0);
    expect(server.posts.map(({ url }) => url.search)).toEqual(["?ticket=t1", "?ticket=t2", "?ticket=t3"]);
  });

  test("that are refused end the connection at once", async () => {
    const { server, posts, failures } = queue();
    posts.push("one");
    posts.push("two");
    await pass(0);
    server.post.answer({ status: 401 });
    await pass(60_000);
    expect(failures).toEqual([{ code: 4401, reason: "HTTP 401" }]);
    expect(posted(server)).toEqual(["one"]);
  });

  test("that are unavailable count as a request without an answer", async () => {
    const credentials = vi.fn(async () => Promise.reject(new Error("signed out")));
    const { server, posts } = queue(credentials);
    posts.push("one");
    await pass(500);
    expect(credentials).toHaveBeenCalledTimes(2);
    expect(server.posts).toEqual([]);
  });
});

describe("when it is closed", () => {
  test("the current request may arrive, the queue is dropped", async () => {
    const { server, posts, answers, failures } = queue();
    posts.push("one");
    posts.push("two");
    await pass(0);
    posts.close();
    expect(server.post.isAborted).toBe(false);
    server.post.answer({ status: 200 });
    await pass(60_000);
    expect(posted(server)).toEqual(["one"]);
    expect([...answers, ...failures]).toEqual([]);
    expect(posts.bytes).toBe(0);
  });

  test("while it waits, nothing is tried again", async () => {
    const { server, posts } = queue();
    posts.push("one");
    await pass(0);
    server.post.fail();
    await pass(0);
    posts.close();
    expect(vi.getTimerCount()).toBe(0);
    await pass(60_000);
    expect(server.posts).toHaveLength(1);
  });
});
