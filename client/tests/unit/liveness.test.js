// @ts-check
import { expect, test, vi } from "vitest";
import { fakePage, pass, useFakeTime } from "./helpers.js";
import { connected, fail } from "./room-socket-helpers.js";

useFakeTime();

const PONG = '{"type":"pong"}';

/** @param {Awaited<ReturnType<typeof connected>>} all Silent until it is given up, and then open again. */
async function staySilent({ room, network }) {
  await pass(30_000);
  await pass((room.snapshot.retryAt ?? NaN) - Date.now());
  network.last.accept();
}

test("after twenty seconds of silence exactly one ping is sent", async () => {
  const { network } = await connected();
  await pass(19_999);
  expect(network.last.sent).toEqual([]);
  await pass(1);
  expect(network.last.sent).toEqual(['{"type":"ping"}']);
});

test("a ping follows a pong after twenty seconds of silence", async () => {
  const { room, network } = await connected();
  for (let pings = 1; pings <= 3; pings += 1) {
    await pass(20_000);
    expect(network.last.pings).toBe(pings);
    network.last.say(PONG);
  }
  expect(room.state).toBe("open");
  expect(network.sockets).toHaveLength(1);
});

test("a connection without a pong for ten seconds is lost", async () => {
  const { room, network, states } = await connected();
  await pass(29_999);
  expect(room.state).toBe("open");
  await pass(1);
  expect(states.at(-1)).toMatchObject({ state: "waiting", close: { code: 1006, reason: "no answer to a ping" } });
  expect(network.last.closedWith).toBeDefined();
});

test("any frame counts as an answer", async () => {
  const { room, network, received } = await connected();
  await pass(29_999);
  network.last.say("something else");
  await pass(10_000);
  expect(room.state).toBe("open");
  expect(received).toEqual(["something else"]);
  await pass(10_000);
  expect(network.last.pings).toBe(2);
});

test("a busy connection sends no ping", async () => {
  const { network } = await connected();
  for (let frames = 0; frames < 20; frames += 1) {
    await pass(15_000);
    network.last.say("news");
  }
  expect(network.last.pings).toBe(0);
  await pass(19_999);
  expect(network.last.pings).toBe(0);
  await pass(1);
  expect(network.last.pings).toBe(1);
});

test("a busy connection costs no timer for each frame", async () => {
  const { network } = await connected();
  const timers = vi.spyOn(globalThis, "setTimeout");
  for (let frames = 0; frames < 100; frames += 1) network.last.say("news");
  expect(timers).not.toHaveBeenCalled();
});

test("our own frames are no sign of life", async () => {
  const { room, network } = await connected();
  await pass(15_000);
  room.send("anybody?");
  await pass(5_000);
  expect(network.last.pings).toBe(1);
});

test("a server that never answered gets no more than two pings", async () => {
  const all = await connected();
  await staySilent(all);
  await staySilent(all);
  expect(all.network.sockets).toHaveLength(3);
  await pass(600_000);
  expect(all.network.last.pings).toBe(0);
  expect(all.network.sockets).toHaveLength(3);
  expect(all.room.state).toBe("open");
});

test("one unanswered ping is not enough to learn that", async () => {
  const all = await connected();
  await staySilent(all);
  await pass(20_000);
  expect(all.network.last.pings).toBe(1);
});

test("a server that has answered once always gets pings", async () => {
  const all = await connected();
  await pass(20_000);
  all.network.last.say(PONG);
  for (let times = 0; times < 4; times += 1) await staySilent(all);
  await pass(20_000);
  expect(all.network.last.pings).toBe(1);
});

test("connections lost in other ways prove nothing about pings", async () => {
  const all = await connected();
  for (let times = 0; times < 4; times += 1) {
    await pass(20_000);
    await fail(all);
    await pass(10_000);
    await pass((all.room.snapshot.retryAt ?? NaN) - Date.now());
    all.network.last.accept();
  }
  await pass(20_000);
  expect(all.network.last.pings).toBe(1);
});

test("the times are configurable", async () => {
  const { room, network } = await connected({ timing: { pingAfterMs: 1_000, answerTimeoutMs: 200 } });
  await pass(1_000);
  expect(network.last.pings).toBe(1);
  await pass(199);
  expect(room.state).toBe("open");
  await pass(1);
  expect(room.state).toBe("waiting");
});

test("with `probe: false` no ping is ever sent", async () => {
  const page = fakePage();
  const { room, network } = await connected({ probe: false });
  page.offline();
  page.online();
  await pass(600_000);
  expect(network.last.sent).toEqual([]);
  expect(room.state).toBe("open");
});

test("`probe: true` is the default", async () => {
  const { network } = await connected({ probe: true });
  await pass(20_000);
  expect(network.last.pings).toBe(1);
});
