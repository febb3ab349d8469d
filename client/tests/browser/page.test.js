// @ts-check
/** The page that the binary serves. */

import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { launch, until } from "./browser.js";
import { Person } from "./people.js";
import { Server } from "./server.js";

/** @type {Server} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;
/** @type {Person[]} */
let people = [];

beforeAll(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
});

afterEach(async () => {
  const complaints = people.flatMap((person) => person.complaints);
  for (const { context } of people) await context.close();
  people = [];
  expect(complaints).toEqual([]);
});

afterAll(async () => {
  await browser?.close();
  await server?.dispose();
});

/**
 * @param {string} name
 * @param {string} room
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
async function comes(name, room, options) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 720 }, ...options });
  const person = new Person(context, await context.newPage());
  people.push(person);
  await enter(person, name, room);
  return person;
}

/** @param {Person} person @param {string} name @param {string} room */
async function enter(person, name, room) {
  await person.page.goto(`${server.url}/#${room}`);
  await person.page.getByLabel("Your name").fill(name);
  await person.page.getByRole("button", { name: "Come in" }).click();
  await person.isConnected();
}

test("a chat continues after the server was killed", async () => {
  const ana = await comes("Ana", "kill");
  const bo = await comes("Bo", "kill");
  await ana.says("one");
  await bo.sees(["one"]);
  await bo.field.pressSequentially("tw");
  await ana.page.getByText("Bo is typing").waitFor();
  await server.kill();
  await ana.page.getByText("Reconnecting").waitFor();
  await bo.field.pressSequentially("o");
  await bo.field.press("Enter");
  await bo.page.getByText("Kept until the room is back").waitFor();
  await server.start();
  await ana.sees(["one", "two"]);
  await bo.sees(["one", "two"]);
  await Promise.all([ana.isConnected(), bo.isConnected()]);
  expect((await server.stored("kill")).map(({ content }) => content)).toEqual(["one", "two"]);
});

test("messages that a restored backup lacks are removed", async () => {
  const ana = await comes("Ana", "backup");
  const all = Array.from({ length: 5 }, (_, index) => `before ${index + 1}`);
  for (const content of all.slice(0, 3)) await server.post("backup", content);
  await ana.sees(all.slice(0, 3));
  await server.terminate();
  server.backUp();
  await server.start();
  await ana.isConnected();
  for (const content of all.slice(3)) await server.post("backup", content);
  await ana.sees(all);
  await server.terminate();
  server.restore();
  // The same numbers with other messages, and more, before the page reconnects.
  await ana.context.setOffline(true);
  await server.start();
  const since = Array.from({ length: 8 }, (_, index) => `after ${index + 4}`);
  for (const content of since) await server.post("backup", content);
  await ana.says("written meanwhile");
  await ana.context.setOffline(false);
  await ana.sees([...all.slice(0, 3), ...since, "written meanwhile"]);
  expect((await server.stored("backup")).map(({ content }) => content)).toEqual(await ana.contents());
});

test("older messages are added above without moving the list", async () => {
  for (let count = 1; count <= 120; count += 1) await server.post("older", `line ${count}`);
  const ana = await comes("Ana", "older");
  await until(
    () => ana.contents(),
    ({ length }) => length === 50,
  );
  const jump = await ana.page.evaluate(async () => {
    const frames = async (/** @type {number} */ count) => {
      for (; count > 0; count -= 1) await new Promise((resolve) => requestAnimationFrame(resolve));
    };
    document.querySelector("#scroller")?.scrollTo(0, 0);
    await frames(3);
    const first = document.querySelector(".bubble");
    const top = first?.getBoundingClientRect().top ?? 0;
    document.getElementById("older")?.click();
    while (document.querySelector(".bubble") === first) await frames(1);
    await frames(3);
    return Math.round((first?.getBoundingClientRect().top ?? 0) - top);
  });
  expect(jump).toBe(0);
  await ana.page.getByRole("button", { name: "Load older messages" }).click();
  await ana.sees(Array.from({ length: 120 }, (_, index) => `line ${index + 1}`));
});

test("a text that is too long stays, and addresses are links", async () => {
  const ana = await comes("Ana", "pasted");
  const pasted = `${"x".repeat(1_999)} and on`;
  await ana.field.focus();
  await ana.page.evaluate((text) => document.execCommand("insertText", false, text), pasted);
  await ana.page.locator("#text-left").getByText("6 too many").waitFor();
  await ana.field.press("Enter");
  await ana.page.locator("#announcer").getByText("Not sent: 6 characters too many").waitFor();
  expect(await ana.field.inputValue()).toBe(pasted);
  expect(await ana.barriers()).toEqual([]);
  await ana.says("www.a.example or ana@a.example");
  await ana.sees(["www.a.example or ana@a.example"]);
  const links = ana.page.locator(".bubble a");
  expect(await links.evaluateAll((all) => all.map((link) => link.getAttribute("href")))).toEqual([
    "https://www.a.example",
    "mailto:ana@a.example",
  ]);
});

test("two users of a room have different colours", async () => {
  // Their preferred colours are the same.
  await server.post("colours", "one", "ana");
  await server.post("colours", "two", "user-5");
  const bo = await comes("Bo", "colours");
  await bo.sees(["one", "two"]);
  const hues = await bo.page.locator(".message .avatar").evaluateAll((all) => all.map((one) => one.dataset.hue));
  expect(new Set(hues).size).toBe(2);
});

test("two tabs are one user, who stays while one tab is open", async () => {
  const bo = await comes("Bo", "tabs");
  const zoe = await comes("Zoe", "tabs");
  const other = new Person(zoe.context, await zoe.context.newPage());
  await other.page.goto(`${server.url}/#tabs`);
  await other.isConnected();
  await other.page.close();
  await zoe.says("still here");
  await bo.sees(["still here"]);
  expect(await bo.page.getByText("Zoe left").count()).toBe(0);
  // No other test has this name: users of the tests before may take a moment to disappear.
  await until(
    () => bo.page.locator("#people-list").getByText("Zoe").count(),
    (count) => count === 1,
  );
  await zoe.page.close();
  await bo.page.getByText("Zoe left").waitFor();
});

for (const [width, height] of /** @type {const} */ ([
  [360, 740],
  [1100, 720],
])) {
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    test(`the page meets WCAG 2.2 AA at ${width} px, ${colorScheme}`, async () => {
      const room = `axe-${width}-${colorScheme}`;
      const context = await browser.newContext({ viewport: { width, height }, colorScheme });
      const ana = new Person(context, await context.newPage());
      people.push(ana);
      await ana.page.goto(`${server.url}/#${room}`);
      await ana.page.getByLabel("Your name").waitFor();
      expect(await ana.barriers()).toEqual([]);
      await enter(ana, "Ana", room);
      expect(await ana.barriers()).toEqual([]);
      await server.post(room, "an address: https://example.com/a");
      await ana.says("one's own");
      await ana.sees(["an address: https://example.com/a", "one's own"]);
      expect(await ana.barriers()).toEqual([]);
      const opener = ana.page.getByRole("button", { name: "Rooms and people" });
      if (await opener.isVisible()) {
        await opener.click();
        expect(await ana.barriers()).toEqual([]);
      }
      expect(await ana.page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
    });
  }
}
