// @ts-check
/** Calls over a socket: the answer, and what becomes of a call when the connection ends. */
import { describe, expect, test } from "vitest";
import { pass, useFakeTime } from "./helpers.js";
import { connected, connecting, fail } from "./room-socket-helpers.js";

useFakeTime();

/** @param {Promise<unknown>} call */
const codeOf = (call) =>
  call.then(
    (value) => expect.fail(`it was answered with ${JSON.stringify(value)}`),
    (error) => error.code,
  );

/** @param {Awaited<ReturnType<typeof connecting>>} all */
const idsOf = ({ network }) => network.last.frames.map(({ id }) => id);

describe("an answer", () => {
  test("resolves its own call, and no listener hears it", async () => {
    const all = await connected();
    const { room, network, received } = all;
    const [first, second] = [room.call("move", { to: 1 }), room.call("left")];
    const [one, two] = network.last.frames;
    expect(one).toEqual({ type: "call", id: one.id, clientId: one.id, once: true, name: "move", args: { to: 1 } });
    network.last.say({ type: "answer", id: two.id, value: 7 });
    network.last.say({ type: "answer", id: one.id, value: { next: "bo" } });
    network.last.say({ type: "answer", id: "another client's", value: 1 });
    expect(await Promise.all([first, second])).toEqual([{ next: "bo" }, 7]);
    expect(received).toHaveLength(1);
  });

  test("with an error rejects with its code and its text", async () => {
    const { room, network, received } = await connected();
    const call = room.call("move", {});
    const { id } = network.last.frames[0];
    network.last.say({ type: "answer", id, error: { code: "taken", message: "field 1 is taken" } });
    await expect(call).rejects.toMatchObject({ name: "CallError", code: "taken", message: "field 1 is taken" });
    const failed = room.call("move", {});
    const { id: other } = network.last.frames[1];
    network.last.say({ type: "error", code: "room_failed", message: "the room failed", clientId: other });
    expect(await codeOf(failed)).toBe("room_failed");
    network.last.say({ type: "error", code: "room_failed", message: "of a message" });
    expect(received).toHaveLength(1);
  });
});

describe("a lost connection", () => {
  test("is followed by the same calls, in their order, before anything else", async () => {
    const all = await connected();
    const { room, network } = all;
    const calls = [room.call("a"), room.call("b"), room.call("c")];
    const ids = idsOf(all);
    network.last.say({ type: "answer", id: ids[1], value: "b" });
    room.on("state", ({ state }) => {
      if (state === "open") void room.call("after").catch(() => {});
    });
    await fail(all);
    network.last.accept();
    expect(network.last.frames.map(({ name }) => name)).toEqual(["a", "c", "after"]);
    expect(idsOf(all).slice(0, 2)).toEqual([ids[0], ids[2]]);
    for (const [at, value] of [
      [0, "a"],
      [2, "c"],
    ])
      network.last.say({ type: "answer", id: ids[/** @type {number} */ (at)], value });
    expect(await Promise.all(calls)).toEqual(["a", "b", "c"]);
    room.close();
  });

  test("keeps a call that was made without a connection", async () => {
    const { room, network } = await connecting();
    const call = room.call("early", 1);
    network.last.accept();
    const [{ id, name }] = network.last.frames;
    expect(name).toBe("early");
    network.last.say({ type: "answer", id, value: null });
    expect(await call).toBe(null);
  });
});

describe("a call without an answer", () => {
  test("rejects in time, and says whether it may have run", async () => {
    const { room, network } = await connected();
    const sent = codeOf(room.call("sent"));
    await pass(30_000);
    expect(await sent).toBe("timeout");
    network.last.drop();
    const waiting = codeOf(room.call("waiting", 1, { timeoutMs: 50 }));
    await pass(50);
    expect(await waiting).toBe("not_sent");
  });

  test("rejects when the socket is closed, and a closed socket takes none", async () => {
    const { room } = await connected();
    const call = codeOf(room.call("x"));
    room.close();
    expect(await call).toBe("closed");
    expect(await codeOf(room.call("x"))).toBe("not_sent");
  });

  test("ends with its signal", async () => {
    const { room } = await connected();
    const leaving = new AbortController();
    const call = codeOf(room.call("x", {}, { signal: leaving.signal }));
    leaving.abort();
    expect(await call).toBe("aborted");
    expect(await codeOf(room.call("x", {}, { signal: leaving.signal }))).toBe("aborted");
  });

  test("has a place among a hundred, and arguments that are JSON", async () => {
    const { room } = await connected();
    const calls = Array.from({ length: 100 }, () => codeOf(room.call("x")));
    expect(await codeOf(room.call("x"))).toBe("too_many");
    room.close();
    expect(new Set(await Promise.all(calls))).toEqual(new Set(["closed"]));
    room.open();
    const circle = {};
    Object.assign(circle, { circle });
    expect(await codeOf(room.call("x", circle))).toBe("bad_args");
    room.close();
  });
});
