// @ts-check
import { describe, expect, test, vi } from "vitest";
import { fakePage, pass, useFakeTime } from "./helpers.js";
import { connected, connecting, fail, waitAfterDrop } from "./room-socket-helpers.js";

useFakeTime();

describe("the backoff", () => {
  test("doubles from half a second to half a minute", async () => {
    const all = await connecting();
    const waits = [];
    for (let failures = 0; failures < 8; failures += 1) waits.push(await fail(all));
    expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  });

  test("is fully random", async () => {
    vi.mocked(Math.random).mockReturnValue(0.1);
    expect(waitAfterDrop(await connecting())).toBe(50);
  });

  test("is reported, and exact to the millisecond", async () => {
    const { network, states } = await connected();
    const now = Date.now();
    network.last.drop(1011, "the room failed");
    expect(states.at(-1)).toEqual({
      state: "waiting",
      previous: "open",
      retryAt: now + 500,
      close: { code: 1011, reason: "the room failed" },
    });
    await pass(499);
    expect(network.sockets).toHaveLength(1);
    await pass(1);
    expect(network.sockets).toHaveLength(2);
    expect(states.at(-1)).toEqual({ state: "connecting", previous: "waiting" });
  });

  test("is configurable", async () => {
    const all = await connecting({ timing: { firstBackoffMs: 100, maxBackoffMs: 300 } });
    const waits = [];
    for (let failures = 0; failures < 4; failures += 1) waits.push(await fail(all));
    expect(waits).toEqual([100, 200, 300, 300]);
  });

  test("is the server's hint if that is longer", async () => {
    expect(waitAfterDrop(await connected(), 1001, "going away; retry-after=12")).toBe(12_000);
    expect(waitAfterDrop(await connected(), 1013, "retry-after=999999999999")).toBe(3_600_000);
  });

  test.each(["retry-after=0", "retry-after=0.001", "retry-after=-1", "retry-after=soon"])(
    "is not made shorter by a server that hints %s each time",
    async (reason) => {
      const { room, network } = await connected();
      const waits = [];
      for (let failures = 0; failures < 8; failures += 1) {
        network.last.drop(1013, reason);
        waits.push((room.snapshot.retryAt ?? NaN) - Date.now());
        await pass(waits.at(-1) ?? 0);
        network.last.accept();
      }
      expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    },
  );

  test("ignores a shorter hint, and ends when the network is back", async () => {
    const page = fakePage();
    vi.mocked(Math.random).mockReturnValue(0.5);
    const { room, network } = await connected();
    network.last.drop(1013, "retry-after=0");
    expect(room.snapshot.retryAt).toBe(Date.now() + 250);
    page.online();
    expect(room.state).toBe("connecting");
  });
});

describe("failures", () => {
  test("still count after a connection that opens and fails at once", async () => {
    const all = await connecting();
    const { network } = all;
    const waits = [];
    for (let failures = 0; failures < 4; failures += 1) {
      network.last.accept();
      await pass(4_999);
      waits.push(await fail(all));
    }
    expect(waits).toEqual([500, 1_000, 2_000, 4_000]);
  });

  test("are cleared after five seconds of a stable connection", async () => {
    const all = await connecting();
    await fail(all);
    await fail(all);
    all.network.last.accept();
    await pass(5_000);
    expect(waitAfterDrop(all)).toBe(500);
  });

  test("still count during the next attempt", async () => {
    const all = await connecting();
    await fail(all);
    all.network.last.accept();
    all.room.reconnect();
    await pass(6_000);
    expect(waitAfterDrop(all)).toBe(1_000);
  });

  test("the five seconds are configurable", async () => {
    const all = await connected({ timing: { stableAfterMs: 100 } });
    await fail(all);
    all.network.last.accept();
    await pass(100);
    expect(waitAfterDrop(all)).toBe(500);
  });
});

describe("an attempt", () => {
  test("that does not open within ten seconds fails", async () => {
    const { room, network } = await connecting();
    await pass(9_999);
    expect(room.state).toBe("connecting");
    await pass(1);
    expect(room.snapshot).toMatchObject({ state: "waiting", close: { code: 1006, reason: "did not open in time" } });
    expect(network.last.readyState).toBe(2);
    await pass(500);
    expect(network.sockets).toHaveLength(2);
  });

  test("that opens at the last moment succeeds", async () => {
    const { room, network } = await connecting();
    await pass(9_999);
    network.last.accept();
    await pass(1_000);
    expect(room.state).toBe("open");
  });
});

describe("the page", () => {
  test("is online: a waiting socket connects at once", async () => {
    const page = fakePage();
    const { room, network } = await connected();
    network.last.drop();
    page.online();
    expect(room.state).toBe("connecting");
    await pass(0);
    network.last.accept();
    await pass(1_000);
    expect(network.sockets).toHaveLength(2);
  });

  test("is online: a wait that the server chose continues", async () => {
    const page = fakePage();
    const { room, network } = await connected();
    network.last.drop(1001, "retry-after=10");
    page.online();
    page.show(true);
    page.becomes("visible");
    await pass(9_999);
    expect(room.state).toBe("waiting");
    await pass(1);
    expect(network.sockets).toHaveLength(2);
  });

  test("is online: the wait after a hinted one can be ended again", async () => {
    const page = fakePage();
    const { room, network } = await connected();
    network.last.drop(1001, "retry-after=10");
    await pass(10_000);
    network.last.drop();
    page.online();
    expect(room.state).toBe("connecting");
  });

  test("is online: an open socket sends a ping", async () => {
    const page = fakePage();
    const { room, network } = await connected();
    page.online();
    expect(network.last.pings).toBe(1);
    expect(room.state).toBe("open");
  });

  test("is online during an attempt: the attempt continues", async () => {
    const page = fakePage();
    const { network } = await connecting();
    page.online();
    await pass(0);
    expect(network.sockets).toHaveLength(1);
    expect(network.last.pings).toBe(0);
  });

  test("is offline: the socket only sends a ping", async () => {
    const page = fakePage();
    const { room, network } = await connected();
    page.offline();
    expect(network.last.pings).toBe(1);
    network.last.say('{"type":"pong"}');
    await pass(15_000);
    expect(room.state).toBe("open");
  });

  test("is offline: without a pong the connection is lost", async () => {
    const page = fakePage();
    const { room, network } = await connected();
    page.offline();
    page.offline();
    expect(network.last.pings).toBe(1);
    await pass(10_000);
    expect(room.state).toBe("waiting");
  });

  test("is offline while waiting: nothing changes", async () => {
    const page = fakePage();
    const { network, states } = await connected();
    network.last.drop(1001, "retry-after=60");
    page.offline();
    await pass(59_999);
    expect(states.map(({ state }) => state)).toEqual(["connecting", "open", "waiting"]);
  });

  test("is visible again: it connects at once, or sends a ping", async () => {
    const page = fakePage();
    const { room, network } = await connected();
    page.becomes("hidden");
    expect(network.last.pings).toBe(0);
    page.becomes("visible");
    expect(network.last.pings).toBe(1);
    network.last.drop();
    page.becomes("hidden");
    expect(room.state).toBe("waiting");
    page.becomes("visible");
    expect(room.state).toBe("connecting");
  });

  test("is restored: it connects at once, or sends a ping", async () => {
    const page = fakePage();
    const { room, network } = await connected();
    page.show(false);
    expect(network.last.pings).toBe(0);
    page.show(true);
    expect(network.last.pings).toBe(1);
    network.last.drop();
    page.show(false);
    expect(room.state).toBe("waiting");
    page.show(true);
    expect(room.state).toBe("connecting");
  });

  test("does not exist, as in a worker: the socket works", async () => {
    const { room, network } = await connected();
    network.last.drop();
    await pass(500);
    network.last.accept();
    expect(room.state).toBe("open");
  });
});
