// @ts-check
import { describe, expect, test, vi } from "vitest";
import { pass, useFakeTime } from "./helpers.js";
import { connected, connecting, waitAfterDrop } from "./room-socket-helpers.js";

useFakeTime();

/** @typedef {import("../../src/credentials.js").Credentials} Credentials */

/** @param {...Credentials} answers One for each call; the last one for all further calls. */
function credentialsThat(...answers) {
  return vi.fn((/** @type {{ refused: boolean }} */ _) => (answers.length > 1 ? answers.shift() : answers[0]));
}

describe("credentials", () => {
  test("are requested before each attempt, and used for that one", async () => {
    const credentials = credentialsThat({ token: "one" }, { token: "two" });
    const { network } = await connecting({ credentials });
    network.last.drop();
    await pass(500);
    expect(network.sockets.map(({ protocols }) => protocols)).toEqual([
      ["dormouse", "bearer.one"],
      ["dormouse", "bearer.two"],
    ]);
    expect(credentials.mock.calls).toEqual([[{ refused: false }], [{ refused: false }]]);
  });

  test("may be a promise", async () => {
    const { network } = await connecting({ credentials: async () => ({ ticket: "t1" }) });
    expect(network.last.url).toBe("wss://rooms.example/lobby/ws?ticket=t1");
  });

  test("are in no URL if they are a token", async () => {
    const { network } = await connecting({ credentials: () => ({ token: "secret" }) });
    expect(network.last.url).not.toContain("secret");
  });

  test("that cannot be sent close the socket for good", async () => {
    const { room, network } = await connecting({ credentials: () => ({ token: "two words" }) });
    await pass(60_000);
    expect(network.sockets).toEqual([]);
    expect(room.snapshot).toMatchObject({ state: "closed", close: { code: 1008 } });
  });

  test.each([
    [
      "throws",
      () => {
        throw new Error("signed out");
      },
    ],
    ["breaks its promise", () => Promise.reject(new Error("signed out"))],
  ])("a function that %s is a failed attempt", async (_, credentials) => {
    const { room, states } = await connecting({ credentials });
    expect(states.at(-1)).toMatchObject({
      state: "waiting",
      close: { code: 1006, reason: "no credentials: Error: signed out" },
    });
    const waits = [];
    for (let failures = 0; failures < 3; failures += 1) {
      const wait = (room.snapshot.retryAt ?? NaN) - Date.now();
      waits.push(wait);
      await pass(wait);
    }
    expect(waits).toEqual([500, 1_000, 2_000]);
  });

  test("that never come fail the attempt after ten seconds", async () => {
    const credentials = vi.fn(() => new Promise(() => {}));
    const { room } = await connecting({ credentials });
    await pass(9_999);
    expect(room.state).toBe("connecting");
    await pass(1);
    expect(room.snapshot).toMatchObject({
      state: "waiting",
      close: { reason: "no credentials: Error: timed out" },
    });
    await pass(500);
    expect(credentials).toHaveBeenCalledTimes(2);
  });

  test("that come after the attempt was given up are not used", async () => {
    /** @type {((credentials: Credentials) => void)[]} */
    const give = [];
    const { room, network } = await connecting({ credentials: () => new Promise((resolve) => give.push(resolve)) });
    room.reconnect();
    await pass(0);
    give[1]?.({ token: "new" });
    await pass(0);
    give[0]?.({ token: "old" });
    await pass(0);
    expect(network.sockets.map(({ protocols }) => protocols[1])).toEqual(["bearer.new"]);
  });

  test("that reject after the attempt was given up are ignored", async () => {
    /** @type {((error: Error) => void)[]} */
    const refuse = [];
    const { room } = await connecting({ credentials: () => new Promise((_, reject) => refuse.push(reject)) });
    room.reconnect();
    await pass(0);
    refuse[0]?.(new Error("too late"));
    await pass(0);
    expect(room.state).toBe("connecting");
  });

  test("leave no timer behind once they are given", async () => {
    const { network, room } = await connected({ credentials: () => ({ token: "a" }) });
    room.close();
    network.last.drop();
    await pass(10);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("4403", () => {
  test("closes the socket for good, with the reason", async () => {
    const { room, network, states } = await connected({ credentials: () => ({ token: "a" }) });
    network.last.drop(4403, "kicked");
    await pass(60_000);
    expect(network.sockets).toHaveLength(1);
    expect(states.at(-1)).toEqual({ state: "closed", previous: "open", close: { code: 4403, reason: "kicked" } });
    expect(room.snapshot.close).toEqual({ code: 4403, reason: "kicked" });
  });
});

describe("4401", () => {
  test("asks at once, and once, for fresh credentials", async () => {
    const credentials = credentialsThat({ token: "old" }, { token: "new" });
    const { room, network, states } = await connected({ credentials });
    network.last.drop(4401);
    await pass(0);
    expect(credentials).toHaveBeenLastCalledWith({ refused: true });
    expect(network.last.protocols).toEqual(["dormouse", "bearer.new"]);
    network.last.accept();
    expect(room.state).toBe("open");
    expect(states.map(({ state }) => state)).toEqual(["connecting", "open", "connecting", "open"]);
  });

  test("and the same token again: no further attempt", async () => {
    const { room, network } = await connected({ credentials: credentialsThat({ token: "a" }, { token: "a" }) });
    network.last.drop(4401);
    await pass(60_000);
    expect(network.sockets).toHaveLength(1);
    expect(room.snapshot).toMatchObject({ state: "closed", close: { code: 4401, reason: "no fresh credentials" } });
  });

  test("without a credentials function is final", async () => {
    const { room, network } = await connected();
    network.last.drop(4401, "expired");
    await pass(60_000);
    expect(network.sockets).toHaveLength(1);
    expect(room.snapshot).toMatchObject({ state: "closed", close: { code: 4401, reason: "expired" } });
  });

  test("a second time is final", async () => {
    const { room, network } = await connected({
      credentials: credentialsThat({ token: "a" }, { token: "b" }, { token: "c" }),
    });
    network.last.drop(4401);
    await pass(0);
    network.last.accept();
    await pass(4_999);
    network.last.drop(4401, "no");
    await pass(60_000);
    expect(network.sockets).toHaveLength(2);
    expect(room.snapshot).toMatchObject({ state: "closed", close: { code: 4401, reason: "no" } });
  });

  test("with a cookie is tried again: the cookie may be new", async () => {
    const { network } = await connected({ credentials: () => undefined });
    network.last.drop(4401);
    await pass(0);
    expect(network.sockets).toHaveLength(2);
    network.last.drop(4401);
    await pass(60_000);
    expect(network.sockets).toHaveLength(2);
  });

  test("is forgotten after a stable connection", async () => {
    const credentials = credentialsThat({ token: "a" }, { token: "b" }, { token: "c" });
    const { network } = await connected({ credentials });
    network.last.drop(4401);
    await pass(0);
    network.last.accept();
    await pass(5_000);
    network.last.drop(4401);
    await pass(0);
    expect(network.last.protocols[1]).toBe("bearer.c");
    expect(credentials.mock.calls.map(([asked]) => asked.refused)).toEqual([false, true, true]);
  });

  test("is remembered until the fresh credentials were tried", async () => {
    const credentials = credentialsThat({ token: "a" }, { token: "b" }, { token: "a" });
    const { room, network } = await connected({ credentials });
    network.last.drop(4401);
    await pass(0);
    network.last.drop();
    await pass(500);
    expect(credentials).toHaveBeenLastCalledWith({ refused: true });
    expect(network.sockets).toHaveLength(2);
    expect(room.snapshot).toMatchObject({ state: "closed", close: { reason: "no fresh credentials" } });
  });
});

describe("an upgrade that is refused", () => {
  test("is not explained at first: a lost network looks the same", async () => {
    const explain = vi.fn(async () => undefined);
    const { network } = await connecting({ explain });
    network.last.drop();
    await pass(0);
    expect(explain).not.toHaveBeenCalled();
  });

  test("is explained the second time, with the same credentials", async () => {
    const explain = vi.fn(async () => undefined);
    const { network } = await connecting({ explain, credentials: credentialsThat({ token: "one" }, { token: "two" }) });
    network.last.drop();
    await pass(500);
    network.last.drop();
    expect(explain).toHaveBeenCalledExactlyOnceWith({ token: "two" });
  });

  test("is not explained if the connection was open", async () => {
    const explain = vi.fn(async () => undefined);
    const { network } = await connecting({ explain });
    network.last.drop();
    await pass(500);
    network.last.accept();
    network.last.drop();
    await pass(0);
    expect(explain).not.toHaveBeenCalled();
  });

  /** @param {import("../../src/close-codes.js").Close} close */
  async function refusedWith(close, credentials = credentialsThat({ token: "a" }, { token: "a" }, { token: "b" })) {
    const all = await connecting({ explain: async () => close, credentials });
    all.network.last.drop();
    await pass(500);
    all.network.last.drop();
    await pass(0);
    return { ...all, credentials };
  }

  test("with 403 closes the socket for good", async () => {
    const { room, network } = await refusedWith({ code: 4403, reason: "HTTP 403" });
    await pass(60_000);
    expect(network.sockets).toHaveLength(2);
    expect(room.snapshot).toMatchObject({ state: "closed", close: { code: 4403, reason: "HTTP 403" } });
  });

  test("with 401 asks for fresh credentials at once", async () => {
    const { network, credentials } = await refusedWith({ code: 4401, reason: "HTTP 401" });
    expect(credentials).toHaveBeenLastCalledWith({ refused: true });
    expect(network.last.protocols[1]).toBe("bearer.b");
    await pass(900);
    expect(network.sockets).toHaveLength(3);
  });

  test("with 503 and a hint waits as long as the server says", async () => {
    const { room, network } = await refusedWith({ code: 1013, reason: "HTTP 503 retry-after=20" });
    expect((room.snapshot.retryAt ?? NaN) - Date.now()).toBe(20_000);
    await pass(19_999);
    expect(network.sockets).toHaveLength(2);
    await pass(1);
    expect(network.sockets).toHaveLength(3);
  });

  test("with 429 and no hint waits as after a second failure", async () => {
    const all = await refusedWith({ code: 4429, reason: "HTTP 429" });
    expect((all.room.snapshot.retryAt ?? NaN) - Date.now()).toBe(1_000);
    expect(all.states.slice(-2)).toMatchObject([
      { close: { code: 1006 } },
      { state: "waiting", close: { code: 4429 } },
    ]);
    await pass(1_000);
    expect(waitAfterDrop(all)).toBe(2_000);
  });

  test("without an explanation over HTTP changes no wait", async () => {
    for (const explain of [async () => undefined, async () => Promise.reject(new Error("no network"))]) {
      const { room, network } = await connecting({ explain });
      network.last.drop();
      await pass(500);
      network.last.drop();
      await pass(0);
      expect(room.snapshot).toMatchObject({ state: "waiting", close: { code: 1006 } });
    }
  });

  test("and is explained late does not disturb the next attempt", async () => {
    /** @type {(close: import("../../src/close-codes.js").Close) => void} */
    let answer = () => {};
    const { room, network } = await connecting({ explain: () => new Promise((resolve) => (answer = resolve)) });
    network.last.drop();
    await pass(500);
    network.last.drop();
    await pass(1_000);
    const late = answer;
    network.last.drop();
    late({ code: 4403, reason: "too late" });
    await pass(0);
    expect(room.state).toBe("waiting");
  });

  test("and is explained during the next attempt, which continues", async () => {
    /** @type {(close: import("../../src/close-codes.js").Close) => void} */
    let answer = () => {};
    const { room, network } = await connecting({ explain: () => new Promise((resolve) => (answer = resolve)) });
    network.last.drop();
    await pass(500);
    network.last.drop();
    await pass(1_000);
    network.last.accept();
    answer({ code: 4403, reason: "too late" });
    await pass(0);
    expect(room.state).toBe("open");
  });
});
