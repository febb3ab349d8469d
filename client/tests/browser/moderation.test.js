// @ts-check
/** Moderators, muted users and readers on the page of the binary, with tokens that grant what each of them may do. */

import { createHmac } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { launch, until } from "./browser.js";
import { Person } from "./people.js";
import { SECRET, Server } from "./server.js";

/** @type {Server} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;
/** @type {Person[]} */
let people = [];

/** The browser itself logs it: the page asks whether a cookie lets the reader in, before it shows the form. */
const REFUSED = /Failed to load resource: the server responded with a status of 401/;

beforeAll(async () => {
  [server, browser] = await Promise.all([Server.withTokens("granted"), launch()]);
});

afterEach(async () => {
  const complaints = people.flatMap((person) => person.complaints).filter((complaint) => !REFUSED.test(complaint));
  for (const { context } of people) await context.close();
  people = [];
  expect(complaints).toEqual([]);
});

afterAll(async () => {
  await browser?.close();
  await server?.dispose();
});

/** @param {string} name @param {string[]} permissions */
function tokenFor(name, permissions) {
  const encode = (/** @type {object} */ part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + 600;
  const rooms = { "rooms/**": permissions, "presence/**": ["read", "presence"] };
  const signed = `${encode({ alg: "HS256" })}.${encode({ sub: `id-${name}`, name, exp, rooms })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

/**
 * @param {string} name
 * @param {string} room
 * @param {string[]} permissions
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
async function comes(name, room, permissions, options) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 720 }, ...options });
  context.setDefaultTimeout(20_000);
  const person = new Person(context, await context.newPage());
  people.push(person);
  await person.page.goto(`${server.url}/#${room}`);
  await person.page.getByLabel("Your token").fill(tokenFor(name, permissions));
  await person.page.getByRole("button", { name: "Come in" }).click();
  await person.isConnected();
  return person;
}

const MEMBER = ["read", "write"];
const MODERATOR = ["read", "write", "moderate"];

test("a moderator can delete a message with the keyboard", async () => {
  const ana = await comes("Ana", "delete", MEMBER);
  const mo = await comes("Mo", "delete", MODERATOR);
  await ana.says("rude");
  await ana.says("polite");
  await mo.sees(["rude", "polite"]);
  expect(await ana.page.locator(".moderation").count()).toBe(0);
  await mo.page.getByRole("button", { name: "Delete the message of Ana" }).first().focus();
  await mo.page.keyboard.press("Enter");
  for (const person of [mo, ana]) await person.sees(["Message deleted", "polite"]);
  await mo.page.locator("#announcer").getByText("A message of Ana was deleted").waitFor();
  expect(await mo.page.evaluate(() => document.activeElement?.classList.contains("message"))).toBe(true);
  expect(await ana.page.content()).not.toContain("rude");
  await ana.page.reload();
  await ana.isConnected();
  await ana.sees(["Message deleted", "polite"]);
});

test("a message deleted during a lost connection is deleted later", async () => {
  const ana = await comes("Ana", "away", MEMBER);
  const mo = await comes("Mo", "away", MODERATOR);
  await ana.says("rude");
  await mo.sees(["rude"]);
  await ana.context.setOffline(true);
  await until(
    () => ana.light.textContent(),
    (text) => text !== "Connected",
  );
  await mo.page.getByRole("button", { name: "Delete the message of Ana" }).click();
  await mo.sees(["Message deleted"]);
  expect(await ana.contents()).toEqual(["rude"]);
  await ana.context.setOffline(false);
  await ana.sees(["Message deleted"]);
});

test("a muted user reads why until the mute ends", async () => {
  const ana = await comes("Ana", "mute", MEMBER);
  const mo = await comes("Mo", "mute", MODERATOR);
  await ana.says("one");
  await mo.sees(["one"]);
  await ana.field.fill("half a sentence");
  const choose = async (/** @type {string} */ choice) => {
    await mo.page.locator("summary", { hasText: "Mute" }).focus();
    await mo.page.keyboard.press("Enter");
    await mo.page.getByRole("button", { name: choice }).press("Enter");
  };
  await choose("10 minutes");
  await ana.page.locator("#read-only").getByText("A moderator has muted you until").waitFor();
  expect(await ana.field.isVisible()).toBe(false);
  expect(await ana.barriers()).toEqual([]);
  await ana.page.reload();
  await ana.page.locator("#read-only").getByText("A moderator has muted you until").waitFor();
  await choose("End the mute");
  await ana.field.waitFor();
  await ana.says("two");
  await mo.sees(["one", "two"]);
});

test("a reader sees that the room is read-only", async () => {
  const eve = await comes("Eve", "reader", ["read"]);
  await eve.page.locator("#read-only").getByText("You may read this room, and not write in it.").waitFor();
  expect(await eve.field.isVisible()).toBe(false);
  expect(await eve.barriers()).toEqual([]);
});

for (const width of [360, 390, 1100]) {
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    test(`moderation meets WCAG 2.2 AA at ${width} px, ${colorScheme}`, async () => {
      const room = `tools-${width}-${colorScheme}`;
      const ana = await comes("Ana", room, MEMBER);
      const mo = await comes("Mo", room, MODERATOR, { viewport: { width, height: 740 }, colorScheme });
      await ana.says("one");
      await ana.says("two");
      await mo.says("one's own");
      await mo.sees(["one", "two", "one's own"]);
      await mo.page.getByRole("button", { name: "Delete the message of Ana" }).first().click();
      await mo.sees(["Message deleted", "two", "one's own"]);
      for (const choice of await mo.page.locator("summary").all()) await choice.click();
      expect(await mo.barriers()).toEqual([]);
      expect(await mo.page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
    });
  }
}
