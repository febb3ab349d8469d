// @ts-check
/** A server with tokens, which expire while the room is open. */

import { createHmac } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { launch, until } from "./browser.js";
import { Person } from "./people.js";
import { SECRET, Server } from "./server.js";
import { serveSite } from "./site.js";
import { Wire } from "./wire.js";

/** @type {Server} */
let server;
/** @type {Wire} */
let wire;
/** @type {Awaited<ReturnType<typeof serveSite>>} */
let site;
/** @type {import("playwright-core").Browser} */
let browser;

beforeAll(async () => {
  server = await Server.withTokens();
  wire = await Wire.to(server.url);
  [site, browser] = await Promise.all([serveSite("tests/browser/pages", wire.url), launch()]);
});

afterEach(() => {
  wire.upgrades = "pass";
});

afterAll(async () => {
  await browser?.close();
  await site?.close();
  wire?.close();
  await server?.dispose();
});

/** @param {number} seconds How long it is valid. */
function tokenFor(seconds) {
  const encode = (/** @type {object} */ part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ sub: "ana", name: "Ana", exp })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

/** @param {(refused: boolean, expiring: boolean) => string} issue */
async function comes(issue) {
  const context = await browser.newContext();
  const ana = new Person(context, await context.newPage());
  await ana.page.exposeFunction("freshToken", issue);
  await ana.page.goto(`${site.url}/?show=refreshed`);
  return ana;
}

test("a token is renewed on the open socket, again and again", async () => {
  let renewed = 0;
  let refused = 0;
  const ana = await comes((wasRefused, expiring) => {
    renewed += expiring ? 1 : 0;
    refused += wasRefused ? 1 : 0;
    return tokenFor(10); // a busy machine must renew it within half of that
  });
  await ana.isConnected();
  /** @type {string[]} */
  const sent = [];
  // The first two tokens have expired by then.
  while (renewed < 4) {
    sent.push(`while it lasts ${sent.length}`);
    await ana.says(/** @type {string} */ (sent.at(-1)));
    await ana.field.pressSequentially("and so on");
  }
  await until(
    async () => (await ana.contents()).slice(-sent.length),
    (contents) => JSON.stringify(contents) === JSON.stringify(sent),
  );
  expect(refused).toBe(0);
  expect(ana.sockets.length).toBe(1);
  expect(ana.openSockets.length).toBe(1);
  expect(ana.complaints).toEqual([]);
  await ana.context.close();
});

test("an expired token that was not renewed in time is replaced", async () => {
  /** @type {boolean[]} Whether the token before had been refused, each time that one was asked for. */
  const asked = [];
  /** @type {string | undefined} */
  let first;
  const ana = await comes((refused) => {
    asked.push(refused);
    return refused ? tokenFor(3_600) : (first ??= tokenFor(6));
  });
  await ana.isConnected();
  const before = (await ana.contents()).length;
  await ana.says("one");
  let count = 1;
  while (!asked.includes(true)) {
    count += 1;
    await ana.says(`message ${count}`);
  }
  await ana.isConnected();
  await ana.says("and on");
  const expected = ["one", ...Array.from({ length: count - 1 }, (_, index) => `message ${index + 2}`), "and on"];
  await until(
    async () => (await ana.contents()).slice(before),
    (contents) => JSON.stringify(contents) === JSON.stringify(expected),
  );
  expect(await ana.page.locator("[data-own] .dormouse-bubble").count()).toBe(before + expected.length);
  expect(asked.filter(Boolean).length).toBe(1);
  expect(ana.complaints).toEqual([]);
  // No token was ever in a URL.
  expect(ana.sockets.every((socket) => !/[?&](token|ticket)=/.test(socket.url()))).toBe(true);
  await ana.context.close();
});

test("an expired token is renewed over events", async () => {
  wire.upgrades = "refuse";
  /** @type {boolean[]} */
  const asked = [];
  const ana = await comes((refused) => {
    asked.push(refused);
    return tokenFor(refused ? 3_600 : 6);
  });
  await ana.isConnected();
  /** @type {string[]} */
  const sent = [];
  while (!asked.includes(true)) {
    sent.push(`message ${sent.length + 1}`);
    await ana.says(`message ${sent.length}`);
    await ana.field.pressSequentially("and so on");
  }
  await ana.isConnected();
  await ana.says("and on");
  // The room still has the messages of the test before.
  await until(
    async () => (await ana.contents()).slice(-sent.length - 1),
    (contents) => JSON.stringify(contents) === JSON.stringify([...sent, "and on"]),
  );
  expect(asked.filter(Boolean).length).toBe(1);
  expect(ana.streams.length).toBeGreaterThan(1);
  expect(ana.openSockets).toEqual([]);
  expect([...ana.streams, ...ana.posts].every((request) => !/[?&](token|ticket)=/.test(request.url()))).toBe(true);
  await ana.context.close();
});

test("a token that is not replaced closes the room, until a click", async () => {
  /** @type {string | undefined} */
  let token;
  const ana = await comes(() => (token ??= tokenFor(10)));
  await ana.isConnected();
  await until(
    () => ana.light.textContent(),
    (text) => text === "Signed out",
  );
  const attempts = ana.sockets.length;
  expect(await ana.barriers()).toEqual([]);
  token = tokenFor(3_600);
  await ana.page.getByRole("button", { name: "Reconnect" }).click();
  await ana.isConnected();
  expect(ana.sockets.length).toBe(attempts + 1);
  await ana.context.close();
});
