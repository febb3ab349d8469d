// @ts-check
/** The binary's page and the package's example behind a proxy that blocks WebSockets: over events and POST. */

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { launch, until } from "./browser.js";
import { Person } from "./people.js";
import { Server } from "./server.js";
import { Wire } from "./wire.js";

/** @type {Server} */
let server;
/** @type {Wire} */
let wire;
/** @type {import("playwright-core").Browser} */
let browser;
/** @type {Person[]} */
let people = [];

beforeAll(async () => {
  server = await Server.start();
  wire = await Wire.to(server.url);
  browser = await launch();
});

beforeEach(() => {
  wire.upgrades = "refuse";
  wire.upgradesAsked = 0;
});

afterEach(async () => {
  wire.plugIn();
  const complaints = people.flatMap((person) => person.complaints);
  for (const { context } of people) await context.close();
  people = [];
  expect(complaints).toEqual([]);
});

afterAll(async () => {
  await browser?.close();
  wire?.close();
  await server?.dispose();
});

/**
 * A user on the page that the server serves.
 *
 * @param {string} name
 * @param {string} room
 * @param {string} [url] Default: behind the proxy.
 */
async function comes(name, room, url = wire.url) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 720 } });
  context.setDefaultTimeout(20_000);
  const person = new Person(context, await context.newPage());
  people.push(person);
  await person.page.goto(`${url}/#${room}`);
  await person.page.getByLabel("Your name").fill(name);
  await person.page.getByRole("button", { name: "Come in" }).click();
  await person.isConnected();
  return person;
}

/** @param {string} room */
async function stored(room) {
  return (await server.stored(room)).map(({ content }) => content);
}

/** @param {Person} person */
const paths = ({ streams }) => streams.map((request) => new URL(request.url()).pathname);

test("a user without WebSockets chats with users who have them", async () => {
  const bo = await comes("Bo", "refused", server.url);
  const ana = await comes("Ana", "refused");
  await bo.page.getByText("Ana came in").waitFor();
  expect(bo.streams).toEqual([]);
  await until(
    () => [...new Set(paths(ana))].sort(),
    (asked) =>
      JSON.stringify(asked) === JSON.stringify(["/api/realtime/presence/events", "/api/realtime/rooms/refused/events"]),
  );
  expect(ana.openSockets).toEqual([]);
  await ana.says("hello");
  await bo.sees(["hello"]);
  await bo.field.pressSequentially("h");
  await ana.page.getByText("Bo is typing").waitFor();
  await bo.says("hello yourself");
  await ana.sees(["hello", "hello yourself"]);
  expect(await ana.page.locator(".message.own .bubble").allTextContents()).toEqual(["hello"]);
  // Only the server adds or removes users in the list.
  await bo.page.locator("#people-list").getByText("Ana").waitFor();
  await ana.page.close();
  await bo.page.getByText("Ana left").waitFor();
  await until(
    () => bo.page.locator("#people-list").getByText("Ana").count(),
    (count) => count === 0,
  );
});

test("a room opens behind a proxy that swallows frames", async () => {
  wire.upgrades = "swallow";
  const bo = await comes("Bo", "swallowed", server.url);
  const ana = await comes("Ana", "swallowed");
  await until(() => ana.streams.length > 1);
  await ana.isConnected();
  await ana.says("hello");
  await bo.sees(["hello"]);
  await bo.says("hello yourself");
  await ana.sees(["hello", "hello yourself"]);
});

test("blocked WebSockets are not tried again, also by another room", async () => {
  const ana = await comes("Ana", "first");
  const { upgradesAsked } = wire;
  expect(upgradesAsked).toBeGreaterThan(0);
  await ana.page.evaluate(() => (location.hash = "#second"));
  await ana.page.getByRole("heading", { name: "second" }).waitFor();
  await ana.isConnected();
  await ana.says("here");
  await ana.sees(["here"]);
  expect(wire.upgradesAsked).toBe(upgradesAsked);
  expect(await stored("second")).toEqual(["here"]);
});

test("killing the server loses, doubles and reorders no message", async () => {
  const ana = await comes("Ana", "killed");
  const bo = await comes("Bo", "killed");
  /** @type {{ ana: string[], bo: string[] }} */
  const sent = { ana: [], bo: [] };
  /** @param {Person} person @param {"ana" | "bo"} name */
  const talk = async (person, name) => {
    for (let count = 0; count < 12; count += 1) {
      sent[name].push(`${name} ${sent[name].length + 1}`);
      await person.says(/** @type {string} */ (sent[name].at(-1)));
      await person.field.pressSequentially("and");
    }
  };
  /** The streams that resumed instead of starting again. */
  const resumed = () =>
    ana.streams.filter((request) => Number(new URL(request.url()).searchParams.get("since")) >= 5).length;
  for (let round = 1; round <= 3; round += 1) {
    const before = sent.ana.length + sent.bo.length;
    const talks = Promise.all([talk(ana, "ana"), talk(bo, "bo")]);
    await until(
      () => stored("killed"),
      (contents) => contents.length >= before + 5,
    );
    // A page resumes from what it has seen, which may be much older than what is stored.
    await until(
      () =>
        ana.page
          .locator(".message:not([data-state=queued], [data-state=sending], [data-state=failed]) .bubble")
          .count(),
      (count) => count >= 5,
    );
    const resumedBefore = resumed();
    await server.kill();
    await server.start();
    await talks;
    // After so many failures the next attempt may be half a minute away.
    for (const { page } of [ana, bo]) await page.evaluate(() => dispatchEvent(new Event("online")));
    // Until then its light may still show the killed connection.
    await until(resumed, (count) => count > resumedBefore);
    await Promise.all([ana.isConnected(), bo.isConnected()]);
  }
  const everything = await until(
    () => stored("killed"),
    ({ length }) => length >= sent.ana.length + sent.bo.length,
  );
  expect(everything.filter((content) => content.startsWith("ana"))).toEqual(sent.ana);
  expect(everything.filter((content) => content.startsWith("bo"))).toEqual(sent.bo);
  await Promise.all([ana.sees(everything), bo.sees(everything)]);
  expect(await ana.page.locator(".message[data-state=failed], .message[data-state=queued]").count()).toBe(0);
  expect(ana.openSockets).toEqual([]);
}, 300_000);

test("missed messages arrive, even more than a history shows", async () => {
  const ana = await comes("Ana", "offline");
  await ana.says("one");
  await ana.sees(["one"]);
  wire.pull();
  await ana.context.setOffline(true);
  await until(
    () => ana.light.textContent(),
    (text) => text !== "Connected",
  );
  await ana.says("two");
  await ana.page.getByText("Kept until the room is back").waitFor();
  const meanwhile = Array.from({ length: 60 }, (_, index) => `meanwhile ${index}`);
  for (const content of meanwhile) await server.post("offline", content);
  wire.plugIn();
  await ana.context.setOffline(false);
  await ana.sees(["one", ...meanwhile, "two"]);
  expect(await stored("offline")).toEqual(["one", ...meanwhile, "two"]);
});

test("a chosen status is posted, and a heartbeat every 20 s", async () => {
  const bo = await comes("Bo", "status", server.url);
  const ana = await comes("Ana", "status");
  await ana.page.locator("#statuses").getByText("Busy").click();
  await bo.page.locator("#people-list li", { hasText: "Ana" }).getByText("busy").waitFor();
  const context = ana.context;
  const other = new Person(context, await context.newPage());
  await other.page.clock.install();
  await other.page.goto(`${wire.url}/#status`);
  await until(async () => {
    await other.page.clock.runFor(1_000);
    return other.posts.length > 0;
  });
  const [sign] = other.posts.map((request) => [new URL(request.url()).pathname, request.postDataJSON()]);
  expect(sign).toEqual(["/api/realtime/presence/update", { type: "heartbeat" }]);
});

/** The number of tabs below: with two streams each they would need more than a browser's six connections. */
const TABS = 4;

test("four tabs share two streams, and any tab may close", async () => {
  const ana = await comes("Ana", "tabs");
  const others = await Promise.all(
    Array.from({ length: TABS - 1 }, async () => new Person(ana.context, await ana.context.newPage())),
  );
  const tabs = [ana, ...others];
  await Promise.all(others.map(({ page }) => page.goto(`${wire.url}/#tabs`)));
  await Promise.all(tabs.map((tab) => tab.isConnected()));
  await until(
    () => wire.streams,
    (streams) => streams === 2,
  );
  /** @type {string[]} */
  const sent = [];
  for (const [index, tab] of tabs.entries()) {
    sent.push(`from tab ${index + 1}`);
    await tab.says(/** @type {string} */ (sent.at(-1)));
    await Promise.all(tabs.map((each) => each.sees(sent)));
  }
  expect(await stored("tabs")).toEqual(sent);
  const bo = await comes("Bo", "tabs", server.url);
  // The leading tab closes. A message sent at that moment is not lost either.
  while (tabs.length > 1) {
    const [leaving] = tabs.splice(0, 1);
    const gone = leaving?.page.close();
    for (const word of ["while", "and after"]) {
      sent.push(`${word} one of ${tabs.length + 1} goes`);
      await bo.says(/** @type {string} */ (sent.at(-1)));
      await gone;
    }
    await Promise.all(tabs.map((each) => each.sees(sent)));
    sent.push(`one of ${tabs.length}`);
    await tabs[0]?.says(/** @type {string} */ (sent.at(-1)));
    await bo.sees(sent);
    await until(
      () => wire.streams,
      (streams) => streams === 2,
    );
  }
  expect(await bo.page.getByText("Ana left").count()).toBe(0);
  expect(tabs[0]?.openSockets).toEqual([]);
  await tabs[0]?.page.close();
  await bo.page.getByText("Ana left").waitFor();
}, 300_000);
