// @ts-check
/** The package's example in Vite's development mode, with the real server. */

import { utimesSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { launch, until } from "./browser.js";
import { Person } from "./people.js";
import { Server } from "./server.js";
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
/** @type {Person[]} */
let people = [];

beforeAll(async () => {
  server = await Server.start();
  wire = await Wire.to(server.url);
  [site, browser] = await Promise.all([serveSite("example", wire.url), launch()]);
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
  await site?.close();
  wire?.close();
  await server?.dispose();
});

/**
 * Each test uses its own room.
 *
 * @param {string} name
 * @param {string} room
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
async function comes(name, room, options) {
  const person = await Person.comes(browser, `${site.url}/?room=${room}`, name, options);
  people.push(person);
  return person;
}

/** @param {string} room */
async function stored(room) {
  return (await server.stored(room)).map(({ content }) => content);
}

test("two users chat, and see each other type, join and leave", async () => {
  const ana = await comes("Ana", "talk");
  const bo = await comes("Bo", "talk");
  await ana.page.getByText("Bo came in").waitFor();
  await ana.says("hello");
  await bo.sees(["hello"]);
  await bo.field.pressSequentially("h");
  await ana.page.getByText("Bo is typing").waitFor();
  await bo.says("hello yourself");
  await ana.sees(["hello", "hello yourself"]);
  await bo.context.close();
  await ana.page.getByText("Bo left").waitFor();
  expect(await ana.page.locator("[data-own] .dormouse-bubble").allTextContents()).toEqual(["hello"]);
});

test("killing the server loses, doubles and reorders no message", async () => {
  const ana = await comes("Ana", "killed");
  const bo = await comes("Bo", "killed");
  let isOver = false;
  /** @param {Person} person @param {string} name */
  const talk = async (person, name) => {
    const sent = [];
    while (!isOver) {
      sent.push(`${name} ${sent.length + 1}`);
      await person.says(/** @type {string} */ (sent.at(-1)));
      await person.field.pressSequentially("and");
    }
    return sent;
  };
  const talks = Promise.all([talk(ana, "ana"), talk(bo, "bo")]);
  for (let round = 1; round <= 3; round += 1) {
    await until(
      () => stored("killed"),
      (contents) => contents.length >= round * 10,
    );
    await server.kill();
    await until(() => ana.page.getByText("Kept until the room is back").count());
    await server.start();
    await Promise.all([ana.isConnected(), bo.isConnected()]);
  }
  isOver = true;
  const [sentByAna, sentByBo] = await talks;
  const everything = await until(
    () => stored("killed"),
    ({ length }) => length >= sentByAna.length + sentByBo.length,
  );
  expect(everything.filter((content) => content.startsWith("ana"))).toEqual(sentByAna);
  expect(everything.filter((content) => content.startsWith("bo"))).toEqual(sentByBo);
  await Promise.all([ana.sees(everything), bo.sees(everything)]);
  expect(await ana.page.locator(".dormouse-message[data-state]").count()).toBe(0);
});

test("a chat continues after the server has restarted", async () => {
  const ana = await comes("Ana", "goodbye");
  await ana.says("before");
  await ana.sees(["before"]);
  await server.terminate();
  await until(
    () => ana.light.textContent(),
    (text) => text !== "Connected",
  );
  await ana.says("meanwhile");
  await server.start();
  await ana.isConnected();
  await until(
    () => stored("goodbye"),
    (contents) => contents.length === 2,
  );
  await ana.sees(["before", "meanwhile"]);
});

test("after an offline time all messages are sent and received", async () => {
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
  await ana.says("three");
  await ana.page.getByText("Kept until the room is back").last().waitFor();
  // More than a history shows, so the page must ask for what it missed.
  const meanwhile = Array.from({ length: 60 }, (_, index) => `meanwhile ${index}`);
  for (const content of meanwhile) await server.post("offline", content);
  wire.plugIn();
  await ana.context.setOffline(false);
  await ana.sees(["one", ...meanwhile, "two", "three"]);
  expect(await stored("offline")).toEqual(["one", ...meanwhile, "two", "three"]);
});

test("a user with another open tab stays listed when one closes", async () => {
  const bo = await comes("Bo", "tabs");
  // The line is there for four seconds, and on a busy machine another tab takes longer to open.
  const [ana] = await Promise.all([comes("Ana", "tabs"), bo.page.getByText("Ana came in").waitFor()]);
  await bo.page.getByText("Ana came in").waitFor({ state: "detached" });
  const other = await Person.entersIn(ana.context, `${site.url}/?room=tabs`, "Ana");
  expect(await bo.page.getByText("Ana came in").count()).toBe(0);
  await other.page.close();
  await ana.says("still here");
  await bo.sees(["still here"]);
  expect(await bo.page.getByText("Ana left").count()).toBe(0);
  expect(await bo.page.getByRole("region", { name: "People" }).getByText("Ana").count()).toBe(1);
  await ana.page.close();
  await bo.page.getByText("Ana left").waitFor();
  await until(
    () => bo.page.getByRole("region", { name: "People" }).getByText("Ana").count(),
    (count) => count === 0,
  );
});

test("StrictMode and hot reload keep one socket for each room", async () => {
  const ana = await comes("Ana", "strict");
  await ana.says("one");
  await ana.sees(["one"]);
  expect(ana.sockets.length).toBe(2); // the room, and presence
  await ana.field.fill("half a senten");
  // Hot reload renders the component of the room again, and remounts the other one, whose hooks changed.
  for (const file of ["App.tsx", "People.tsx"]) {
    const reloaded = ana.page.waitForEvent("console", (message) =>
      message.text().includes(`hot updated: /src/${file}`),
    );
    const now = new Date();
    utimesSync(fileURLToPath(new URL(`../../example/src/${file}`, import.meta.url)), now, now);
    await reloaded;
  }
  await ana.field.pressSequentially("ce");
  expect(await ana.field.inputValue()).toBe("half a sentence");
  await ana.field.press("Enter");
  await ana.sees(["one", "half a sentence"]);
  expect(ana.sockets.length).toBe(2);
  expect(ana.openSockets.length).toBe(2);
});

test("a room that was left shows its messages on return", async () => {
  const ana = await comes("Ana", "left");
  await ana.says("in the first");
  await ana.sees(["in the first"]);
  await ana.page.getByRole("button", { name: "kitchen" }).click();
  await ana.page.getByRole("heading", { name: "kitchen" }).waitFor();
  await ana.isConnected();
  await until(
    () => ana.openSockets.map((socket) => new URL(socket.url()).pathname).sort(),
    (paths) =>
      JSON.stringify(paths) === JSON.stringify(["/api/realtime/presence/ws", "/api/realtime/rooms/kitchen/ws"]),
  );
  await ana.page.getByRole("button", { name: "left" }).click();
  await ana.sees(["in the first"]);
});

test("a refused message can be retried or discarded", async () => {
  const ana = await comes("Ana", "refused");
  // A refusal, injected here: the shipped room accepts everything that the page can send.
  await ana.page.routeWebSocket(/rooms\/refused/, (socket) => {
    socket.send(JSON.stringify({ type: "history", messages: [] }));
    socket.onMessage((text) => {
      const { clientId } = JSON.parse(String(text));
      if (clientId) socket.send(JSON.stringify({ type: "error", code: "rate_limited", message: "too fast", clientId }));
    });
  });
  await ana.page.reload();
  await ana.isConnected();
  await ana.says("hm");
  const refusal = ana.page.locator(".dormouse-delivery", { hasText: "Not sent: too fast" });
  await refusal.waitFor();
  expect(await ana.barriers()).toEqual([]);
  await ana.page.getByRole("button", { name: "Try again" }).click();
  await refusal.waitFor();
  await ana.page.getByRole("button", { name: "Discard" }).click();
  await ana.sees([]);
});

test("new messages do not move a reader who scrolled up", async () => {
  for (let count = 1; count <= 60; count += 1) await server.post("scroll", `line ${count}\n`.repeat(3));
  const ana = await comes("Ana", "scroll");
  const scroller = ana.page.getByRole("region", { name: "Messages" });
  const fromEnd = () => scroller.evaluate((element) => element.scrollHeight - element.clientHeight - element.scrollTop);
  const top = () => scroller.evaluate((element) => element.scrollTop);
  await until(
    () => ana.contents(),
    ({ length }) => length === 50,
  );
  await until(fromEnd, (distance) => distance < 2);
  await server.post("scroll", "followed");
  await until(
    () => ana.contents(),
    (contents) => contents.at(-1) === "followed",
  );
  await until(fromEnd, (distance) => distance < 2);

  await scroller.hover();
  await ana.page.mouse.wheel(0, -600);
  const newer = ana.page.locator(".dormouse-newer");
  await newer.waitFor();
  const before = await until(
    async () => [await top(), await top()],
    ([a, b]) => a === b,
  );
  await server.post("scroll", "not followed");
  await until(
    () => newer.textContent(),
    (text) => text === "1 new message",
  );
  expect(await top()).toBe(before[0]);

  await newer.click();
  await until(fromEnd, (distance) => distance < 2);
  expect(await newer.count()).toBe(0);
  await ana.page.mouse.wheel(0, -600);
  await newer.waitFor();
  await ana.says("one's own is always shown");
  await until(fromEnd, (distance) => distance < 2);
});

test("5,000 messages can be read back to the oldest without a jump", async () => {
  for (let done = 0; done < 5_000; done += 100) {
    // Posted in parallel, so the order is read back from the server.
    await Promise.all(Array.from({ length: 100 }, (_, index) => server.post("long", `message ${done + index}`)));
  }
  const everything = await stored("long");
  expect(everything.length).toBe(5_000);
  const ana = await comes("Ana", "long");
  await until(
    () => ana.contents(),
    ({ length }) => length === 50,
  );
  const { page } = ana;
  const jumps = await page.evaluate(async () => {
    /** Rows get their real height when they are rendered. @param {number} count */
    const frames = async (count) => {
      for (; count > 0; count -= 1) await new Promise((resolve) => requestAnimationFrame(resolve));
    };
    const find = (/** @type {string} */ selector) =>
      /** @type {HTMLElement | null} */ (document.querySelector(selector));
    const jumps = [];
    for (let older; (older = find(".dormouse-older"));) {
      find(".dormouse-scroller")?.scrollTo(0, 0);
      await frames(3);
      const first = find(".dormouse-bubble");
      const top = first?.getBoundingClientRect().top ?? 0;
      older.click();
      while (find(".dormouse-bubble") === first) await frames(1);
      await frames(3);
      jumps.push(Math.round(Math.abs((first?.getBoundingClientRect().top ?? 0) - top)));
    }
    return jumps;
  });
  expect(jumps).toEqual(Array(99).fill(0));
  expect(await ana.contents()).toEqual(everything);
  await ana.says("and one more");
  await ana.sees([...everything, "and one more"]);
  // Only a small part of the rows is laid out.
  const rendered = await page
    .locator(".dormouse-bubble")
    .evaluateAll((rows) => rows.filter((row) => row.checkVisibility({ contentVisibilityAuto: true })).length);
  expect(rendered).toBeLessThan(200);
}, 300_000);

for (const [width, height] of /** @type {const} */ ([
  [390, 760],
  [1100, 720],
])) {
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    test(`the page meets WCAG 2.2 AA at ${width} px, ${colorScheme}`, async () => {
      const room = `axe-${width}-${colorScheme}`;
      await server.post(room, "an address: https://example.com/a");
      const ana = await comes("Ana", room, { viewport: { width, height }, colorScheme });
      await ana.says("one's own");
      await ana.sees(["an address: https://example.com/a", "one's own"]);
      expect(await ana.barriers()).toEqual([]);
      expect(await ana.page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
    });
  }
}

test("everything works with the keyboard and a screen reader", async () => {
  for (let count = 1; count <= 60; count += 1) await server.post("keys", `line ${count}`);
  const ana = await comes("Ana", "keys");
  await until(
    () => ana.contents(),
    ({ length }) => length === 50,
  );
  const focused = () =>
    ana.page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent);
  await ana.field.focus();
  await ana.page.keyboard.press("Shift+Tab");
  expect(await focused()).toBe("Load older messages");
  await ana.page.keyboard.press("Enter");
  await until(
    () => ana.contents(),
    ({ length }) => length === 60,
  );
  // The button is gone, but the focus is not lost.
  expect(await focused()).toBe("Messages");
  await ana.page.locator("[aria-live=polite]").getByText("10 older messages").waitFor();
  await server.post("keys", "aloud", "bo");
  await ana.page.locator("[aria-live=polite]").getByText("bo: aloud").waitFor();
});
