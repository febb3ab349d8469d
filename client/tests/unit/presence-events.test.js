// @ts-check
/** Presence where WebSockets are blocked: it reads an event stream, and posts heartbeats. */

import { expect, test, vi } from "vitest";
import { Presence } from "../../src/presence.js";
import { FakeServer } from "./fake-server.js";
import { fakeNetwork } from "./fake-socket.js";
import { eventsOf, pass, useFakeTime } from "./helpers.js";

useFakeTime();

const BASE_URL = "https://rooms.example/api/realtime";

/** @typedef {import("../../src/protocol.js").Status} Status */

/** @param {string} userId @param {Status} [status] */
const user = (userId, status = "online") => ({ userId, userName: userId, status, lastSeen: 1 });

/**
 * @param {ReturnType<typeof user>[]} users
 * @param {Partial<import("../../src/presence.js").PresenceOptions>} [options]
 */
async function arrive(users = [user("ana"), user("bo")], options) {
  const server = new FakeServer();
  vi.stubGlobal("fetch", server.fetch);
  const presence = new Presence({
    baseUrl: BASE_URL,
    credentials: () => ({ devToken: "ana:Ana" }),
    transport: "events",
    ...options,
  });
  presence.open();
  await pass(0);
  server.stream.accept();
  server.stream.say({ type: "presence_list", users });
  await pass(0);
  return {
    presence,
    server,
    /** Answers all posts, and sends a sign of life on the stream. @param {number} ms */
    async stays(ms) {
      for (const end = Date.now() + ms; Date.now() < end;) {
        await pass(Math.min(1_000, end - Date.now()));
        server.stream.ping();
        for (const post of server.posts) if (!post.isAnswered) post.answer({ status: 200, body: { success: true } });
        await pass(0);
      }
    },
  };
}

test("the list comes over the stream of its scope's room", async () => {
  const { presence, server } = await arrive();
  expect(server.stream.url.href).toBe(`${BASE_URL}/presence/events`);
  expect(presence).toMatchObject({ state: "open", transport: "events" });
  expect(presence.users.map(({ userId }) => userId)).toEqual(["ana", "bo"]);
  server.stream.say({ type: "presence_remove", userId: "bo" });
  await pass(0);
  expect(presence.users.map(({ userId }) => userId)).toEqual(["ana"]);
  const named = await arrive(undefined, { scope: "team" });
  expect(named.server.stream.url.href).toBe(`${BASE_URL}/presence/team/events`);
});

test("a heartbeat without a status is posted every twenty seconds", async () => {
  const { server, stays } = await arrive([user("ana", "away")]);
  await stays(119_000);
  expect(server.posts.map(({ url }) => url.href)).toEqual(Array(5).fill(`${BASE_URL}/presence/update`));
  expect(server.posts.map(({ body }) => body)).toEqual(Array(5).fill({ type: "heartbeat" }));
  expect(server.streams).toHaveLength(1);
});

test("a status is posted at once, and not by heartbeats", async () => {
  const { presence, server, stays } = await arrive();
  presence.setStatus("busy");
  await stays(20_000);
  expect(server.posts.map(({ body }) => body)).toEqual([{ status: "busy" }, { type: "heartbeat" }]);
  expect(presence.status).toBe("busy");
});

test("a status that was answered is not posted again", async () => {
  const { presence, server, stays } = await arrive();
  presence.setStatus("busy");
  await stays(1_000);
  server.stream.end();
  await pass(500);
  server.stream.accept();
  server.stream.say({ type: "presence_list", users: [user("ana", "away")] });
  await pass(0);
  expect(server.posts.map(({ body }) => body)).toEqual([{ status: "busy" }]);
  expect(presence.status).toBe("away");
});

test("a status whose POST failed is posted again after a reconnect", async () => {
  const { presence, server } = await arrive();
  presence.setStatus("busy");
  await pass(0);
  server.post.fail();
  server.stream.end();
  await pass(500);
  server.stream.accept();
  server.stream.say({ type: "presence_list", users: [user("ana")] });
  await pass(0);
  expect(server.posts.map(({ body }) => body)).toEqual([{ status: "busy" }, { status: "busy" }]);
});

test("a server without HTTP heartbeats receives the last status", async () => {
  const { presence, server } = await arrive();
  const errors = eventsOf(presence, "error");
  presence.setStatus("busy");
  await pass(0);
  server.post.answer({ status: 200, body: { success: true } });
  server.stream.say({ type: "presence_update", user: user("ana", "away") });
  await pass(20_000);
  server.post.answer({ status: 400, body: { detail: "status must be a string" } });
  await pass(0);
  expect(server.posts.map(({ body }) => body).slice(1)).toEqual([{ type: "heartbeat" }, { status: "away" }]);
  expect(errors).toEqual([]);
});

test("a named room receives posts at its own URL", async () => {
  const { presence, server } = await arrive(undefined, { scope: "team" });
  presence.setStatus("busy");
  await pass(0);
  expect(server.post.url.href).toBe(`${BASE_URL}/presence/team/update`);
});

test("a refused status is reported as an error", async () => {
  const { presence, server } = await arrive();
  const errors = eventsOf(presence, "error");
  presence.setStatus("busy");
  await pass(0);
  server.post.answer({ status: 400, body: { detail: "no such status" } });
  await pass(0);
  expect(errors).toEqual([{ type: "error", code: "bad_message", message: "no such status" }]);
});

test("heartbeats without an answer end the connection", async () => {
  const { presence, server } = await arrive();
  const states = eventsOf(presence, "state");
  await pass(20_000);
  for (let signs = 0; signs < 9; signs += 1) {
    server.stream.ping();
    if (!server.post.isAnswered) server.post.fail();
    await pass(5_000);
  }
  expect(states[0]).toMatchObject({ state: "waiting", close: { code: 1006 } });
});

test("closing ends the stream and the heartbeats", async () => {
  const { presence, server } = await arrive();
  presence.close();
  expect(server.stream.isAborted).toBe(true);
  await pass(60_000);
  expect(server.posts).toEqual([]);
  expect(vi.getTimerCount()).toBe(0);
});

test("a request for the list detects a proxy without upgrades", async () => {
  const network = fakeNetwork();
  const server = new FakeServer();
  vi.stubGlobal("fetch", server.fetch);
  const presence = new Presence({ baseUrl: "https://blocked-presence.example", WebSocket: network.WebSocket });
  presence.open();
  await pass(0);
  network.last.drop();
  await pass(500);
  network.last.drop();
  await pass(0);
  expect(server.gets.map(({ url }) => url.pathname)).toEqual(["/presence/list"]);
  expect(server.stream.url.href).toBe("https://blocked-presence.example/presence/events");
});
