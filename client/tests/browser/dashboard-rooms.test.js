// @ts-check
/** The pages of the dashboard for rooms, users, the audit log and revocations, on a server whose rooms are busy. */

import { readFile } from "node:fs/promises";
import { request } from "node:http";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { launch, until } from "./browser.js";
import { Operator, WITH_DASHBOARD } from "./operator.js";
import { ADMIN_TOKEN, Server } from "./server.js";

/** Names that would do harm if they became markup, commands of a terminal, or text in another direction. */
const MARKUP = `<img src=x onerror="globalThis.harmed=1">`;
const REVERSED = "safe\u202egnp.exe";
const TERMINAL = "\u001b[2J\u001b]0;harmed\u0007";
/** The longest names that there can be. */
const LONG_ROOM = `${"<b>&amp;'\"".repeat(50)}\u202exxxxxxxxx`;
const LONG_USER = "u".repeat(200);

/** What the browser itself logs when the server refuses an action. The page tells the reason. */
const REFUSED = /Failed to load resource: the server responded with a status of 4(00|04|09) /;

/** @type {Server} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;
/** The page from which clients connect. @type {import("playwright-core").Page} */
let clients;
/** @type {Operator[]} */
let operators = [];

beforeAll(async () => {
  const awake = WITH_DASHBOARD.replace(/^hibernate_after.*$/m, 'hibernate_after = "1h"');
  const config = `${awake}[limits]\nmessages_per_second = 5000\nmessages_per_second_per_user = 5000\n`;
  [server, browser] = await Promise.all([Server.start(config), launch()]);
  clients = await browser.newPage();
  await clients.goto(server.url);
});

afterEach(async () => {
  const complaints = operators.flatMap(({ complaints }) => complaints).filter((complaint) => !REFUSED.test(complaint));
  for (const { context } of operators) await context.close();
  operators = [];
  // Blocked by the policy, markup in names would still leave a complaint.
  expect(complaints).toEqual([]);
});

afterAll(async () => {
  await browser?.close();
  await server?.dispose();
});

/**
 * A request to the admin listener, as a program with the token.
 *
 * @param {string} path
 * @param {RequestInit} [init]
 */
function ask(path, init) {
  return fetch(server.admin + path, { ...init, headers: { authorization: `Bearer ${ADMIN_TOKEN}`, ...init?.headers } });
}

/**
 * An operator who has signed in, at a page of the dashboard.
 *
 * @param {string} hash
 * @param {import("playwright-core").BrowserContextOptions} [options]
 */
async function comes(hash, options) {
  const operator = await Operator.comes(browser, `${server.admin}/${hash}`, options);
  operators.push(operator);
  await operator.page.getByRole("navigation", { name: "Pages" }).waitFor();
  return operator;
}

/** A socket of a user in a chat room, held by the page of the clients. */
class Client {
  /** @param {number} number */
  constructor(number) {
    this.number = number;
  }

  /** @param {string} room @param {string} user @param {string} [name] */
  static async joins(room, user, name = user) {
    const url = `${server.url.replace("http", "ws")}/api/realtime/rooms/${encodeURIComponent(room)}/ws`;
    const token = encodeURIComponent(`${user}:${name}`);
    const number = await clients.evaluate(async (url) => {
      const page = /** @type {any} */ (globalThis);
      const sockets = (page.sockets ??= []);
      const socket = new WebSocket(url);
      const held = { socket, received: /** @type {string[]} */ ([]), close: /** @type {number[]} */ ([]) };
      socket.addEventListener("message", ({ data }) => held.received.push(data));
      socket.addEventListener("close", ({ code }) => held.close.push(code));
      await new Promise((resolve, reject) => {
        socket.addEventListener("message", resolve, { once: true });
        socket.addEventListener("close", () => reject(new Error("refused")), { once: true });
      });
      return sockets.push(held) - 1;
    }, `${url}?token=${token}`);
    return new Client(number);
  }

  /** @param {string} content @param {number} [times] */
  async says(content, times = 1) {
    await clients.evaluate(([number, content, times]) => {
      const { socket } = /** @type {any} */ (globalThis).sockets[number];
      for (let count = 0; count < times; count += 1) socket.send(JSON.stringify({ type: "message", content }));
    }, /** @type {const} */ ([this.number, content, times]));
  }

  /** Says something every so often, until the page closes. @param {number} everyMs */
  async keepsTalking(everyMs) {
    await clients.evaluate(([number, everyMs]) => {
      const { socket } = /** @type {any} */ (globalThis).sockets[number];
      setInterval(() => socket.readyState === 1 && socket.send('{"type":"message","content":"and on"}'), everyMs);
    }, /** @type {const} */ ([this.number, everyMs]));
  }

  /** @returns {Promise<string[]>} */
  received() {
    return clients.evaluate((number) => /** @type {any} */ (globalThis).sockets[number].received, this.number);
  }

  /** The code with which it was closed, or nothing. @returns {Promise<number[]>} */
  closed() {
    return clients.evaluate((number) => /** @type {any} */ (globalThis).sockets[number].close, this.number);
  }
}

/** @param {import("playwright-core").Page} page */
const notice = (page) => page.locator("#notice");
/** @param {import("playwright-core").Page} page */
const dialog = (page) => page.getByRole("dialog");

/** The texts of a column, by its number. @param {import("playwright-core").Page} page @param {string} table @param {number} [column] */
function column(page, table, column = 1) {
  return page
    .getByRole("table", { name: table, exact: true })
    .locator(`tbody td:nth-child(${column})`)
    .allTextContents();
}

/** Copies a room through the files of an export, because clients cannot give a room such a name. @param {string} from @param {string} to */
async function copyRoom(from, to) {
  const lines = await (await ask(`/rooms/ROOMS/${encodeURIComponent(from)}/export`)).blob();
  const answer = await ask(`/rooms/ROOMS/${encodeURIComponent(to)}/import`, { method: "POST", body: lines });
  expect(answer.status).toBe(200);
}

/** Sends a message to the room `..`. */
async function createDots() {
  const { hostname, port } = new URL(server.url);
  const headers = { authorization: "Bearer robot:robot", "content-type": "application/json" };
  const path = "/api/realtime/rooms/%2e%2e/messages";
  const status = await new Promise((resolve, reject) => {
    const sent = request({ hostname, port, path, method: "POST", headers }, ({ statusCode }) => resolve(statusCode));
    sent.on("error", reject).end('{"content":"kept"}');
  });
  expect(status).toBe(200);
}

test("rooms are listed, sorted, filtered and paged under load", async () => {
  for (let count = 0; count < 60; count += 1) await server.post(`stored-${String(count).padStart(2, "0")}`, "kept");
  const busy = await Promise.all(["ana", "bo", "cy"].map((user) => Client.joins("list-talk", user)));
  const quiet = await Client.joins("list-quiet", "di");
  for (const client of busy) await client.keepsTalking(50);
  await quiet.says("hello");
  const { page } = await comes("#/rooms");
  const rooms = () => column(page, "Rooms");

  await page.getByLabel("Name begins with").fill("list-");
  await page.getByLabel("Name begins with").press("Enter");
  await until(rooms, (rooms) => rooms.join() === "ROOMS/list-quiet,ROOMS/list-talk");
  await page.getByLabel("Order").selectOption({ label: "Sockets" });
  await until(rooms, ([first]) => first === "ROOMS/list-talk");
  expect(await column(page, "Rooms", 3)).toEqual(["3", "1"]);
  await page.getByLabel("Order").selectOption({ label: "Messages a second" });
  await until(
    () => column(page, "Rooms", 4),
    ([first]) => Number(first) > 5,
  );
  expect((await rooms())[0]).toBe("ROOMS/list-talk");
  expect((await column(page, "Rooms", 2))[0]).toContain("events come");
  // The filter is in the address.
  await page.reload();
  await until(rooms, (rooms) => rooms.length === 2 && rooms[0] === "ROOMS/list-talk");

  await page.getByLabel("Order").selectOption({ label: "Name" });
  await page.getByLabel("Name begins with").fill("stored-");
  await page.getByRole("button", { name: "Show", exact: true }).click();
  await until(rooms, ({ length }) => length === 50);
  await page.getByRole("button", { name: "Next" }).click();
  await until(rooms, (rooms) => rooms.length === 10 && rooms[0] === "ROOMS/stored-50");
  await page.getByRole("button", { name: "Previous" }).click();
  await until(rooms, (rooms) => rooms.length === 50 && rooms[0] === "ROOMS/stored-00");
  await ask("/rooms/ROOMS/list-quiet/sleep", { method: "POST" });
  await page.getByLabel("Name begins with").fill("list-");
  await page.getByLabel("State").selectOption({ label: "Asleep" });
  await until(rooms, (rooms) => rooms.join() === "ROOMS/list-quiet");
  await page.getByLabel("State").selectOption({ label: "Awake" });
  await until(rooms, (rooms) => rooms.join() === "ROOMS/list-talk");
  await until(
    () => column(page, "Rooms", 2),
    ([state]) => /^awakefor \d/.test(state ?? ""),
  );
  await page.getByRole("link", { name: "ROOMS/list-talk" }).click();
  await page.getByRole("heading", { name: "list-talk", level: 1 }).waitFor();
  await until(
    () => column(page, "Sockets"),
    (users) => users.join() === "ana,bo,cy",
  );
});

test("a list keeps the focus while it is read again", async () => {
  await Client.joins("focus-a", "ana");
  const { page } = await comes("#/rooms?prefix=focus-");
  const link = page.getByRole("link", { name: "ROOMS/focus-a" });
  await link.focus();
  await Client.joins("focus-0", "bo");
  await until(
    () => column(page, "Rooms"),
    ({ length }) => length === 2,
  );
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("ROOMS/focus-a");
});

test("a list is read again every few seconds, and not in a tab in the background", async () => {
  const { page } = await comes("#/users");
  await page.clock.install();
  let requests = 0;
  page.on("request", (request) => (requests += Number(request.url().includes("/rooms?"))));
  /** @param {boolean} isHidden */
  const hide = (isHidden) =>
    page.evaluate((isHidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }, isHidden);
  await page.getByRole("link", { name: "Rooms", exact: true }).click();
  await until(() => requests === 1);
  await page.getByRole("table", { name: "Rooms", exact: true }).waitFor();
  await page.clock.runFor(1_900);
  expect(requests).toBe(1);
  await page.clock.runFor(4_000);
  await until(() => requests === 2);
  await hide(true);
  // In steps, so that an answer may come in between, as it would without the clock of the test.
  for (let step = 0; step < 20; step += 1) await page.clock.runFor(3_000);
  expect(requests).toBe(2);
  await hide(false);
  await until(() => requests === 3);
});

test("a live tail shows messages, can be paused and filtered, and keeps the last lines", async () => {
  const ana = await Client.joins("tail", "ana");
  const bo = await Client.joins("tail", "bo");
  const { page } = await comes("#/rooms/ROOMS/tail");
  const tail = page.getByRole("region", { name: "Live tail" });
  const lines = tail.getByRole("log").locator("li");
  await tail.getByRole("button", { name: "Start" }).click();
  await tail.getByText("It runs.").waitFor();
  await ana.says("one");
  await lines.filter({ hasText: "message of ana" }).first().waitFor();
  await lines.filter({ hasText: "is on disk after" }).first().waitFor();

  await tail.getByRole("button", { name: "Pause" }).click();
  const shown = await lines.count();
  await bo.says("two");
  await tail.getByText(/Paused; [1-9]/).waitFor();
  expect(await lines.count()).toBe(shown);
  await tail.getByRole("button", { name: "Resume" }).click();
  await lines.filter({ hasText: "message of bo" }).first().waitFor();

  await tail.getByLabel("Only lines with").fill("bo");
  await until(
    () => lines.allTextContents(),
    (texts) => texts.length > 0 && texts.every((text) => text.includes("bo")),
  );
  await tail.getByLabel("Only lines with").fill("");
  await tail.getByLabel("Kind").selectOption({ label: "Commits" });
  await until(
    () => lines.allTextContents(),
    (texts) => texts.length > 0 && texts.every((text) => text.includes("commit")),
  );
  await tail.getByLabel("Kind").selectOption({ label: "Turns" });
  for (let round = 0; round < 15; round += 1) await ana.says("many", 100);
  await tail.getByText(/older ones dropped/).waitFor();
  await until(
    () => lines.count(),
    (count) => count > 100 && count <= 1_000,
  );
  await tail.getByText(/\d lost because this page was too slow/).waitFor();

  await tail.getByRole("button", { name: "Stop" }).click();
  await tail.getByText("It is stopped.").waitFor();
});

test("the storage is read by prefix, in pages, and as JSON, text and hexadecimal digits", async () => {
  for (let count = 1; count <= 60; count += 1) await server.post("storage", `${MARKUP} ${count}`);
  const { page } = await comes("#/rooms/ROOMS/storage");
  const storage = page.getByRole("region", { name: "Storage", exact: true });
  const keys = () => column(page, "Entries of the storage");
  const values = () => column(page, "Entries of the storage", 2);
  expect(await storage.getByRole("table").count()).toBe(0);
  await storage.getByRole("button", { name: "Show", exact: true }).click();
  await until(keys, ({ length }) => length === 20);
  // A page of the longest values is no longer than a few windows.
  expect(await storage.evaluate(({ clientHeight }) => clientHeight)).toBeLessThan(6_000);
  const first = await keys();
  await storage.getByRole("button", { name: "Next" }).click();
  await until(keys, (keys) => keys.length > 0 && !first.includes(keys[0] ?? ""));
  const { entries } = await (await ask("/rooms/ROOMS/storage/storage?limit=60&format=text")).json();
  const { key, keyHex = Buffer.from(key).toString("hex") } = entries[55];
  await storage.getByLabel("The prefix is").selectOption({ label: "Hexadecimal" });
  await storage.getByLabel("Keys begin with").fill(keyHex);
  await storage.getByRole("button", { name: "Show", exact: true }).click();
  await until(keys, ({ length }) => length === 1);
  await storage.getByLabel("Show values as").selectOption({ label: "Hexadecimal" });
  await storage.getByRole("button", { name: "Show", exact: true }).click();
  await until(values, ([value]) => /^[0-9a-f]+$/.test(value ?? ""));
  await storage.getByLabel("Show values as").selectOption({ label: "JSON" });
  await storage.getByLabel("Keys begin with").fill("xyz");
  await storage.getByRole("button", { name: "Show", exact: true }).click();
  await storage.getByRole("alert").getByText("hexadecimal digits").waitFor();
  await storage.getByLabel("Keys begin with").fill("");
  await storage.getByRole("button", { name: "Show", exact: true }).click();
  await until(values, (values) => values.some((value) => value.includes("<img src=x")));
  expect(await page.evaluate(() => /** @type {any} */ (globalThis).harmed)).toBeUndefined();
});

test("a broadcast arrives, a room sleeps, and closed sockets get 4410", async () => {
  const ana = await Client.joins("actions", "ana");
  await ana.says("stay awake");
  const { page } = await comes("#/rooms/ROOMS/actions");
  await page.getByRole("button", { name: "Broadcast…" }).click();
  await dialog(page).getByLabel("Text").fill('{"type":"notice","text":"tea"}');
  await dialog(page).getByRole("button", { name: "Send" }).click();
  await notice(page).getByText("Sent to 1 socket.").waitFor();
  await until(
    () => ana.received(),
    (received) => received.includes('{"type":"notice","text":"tea"}'),
  );

  await page.getByRole("button", { name: "Put to sleep…" }).click();
  await dialog(page).getByRole("button", { name: "Put to sleep" }).click();
  await notice(page).getByText("It sleeps.").waitFor();
  await page.locator(".room-state").getByText("asleep").waitFor();

  // A reason that is too long stays in the question, with what the server says.
  await page.getByRole("button", { name: "Close sockets…" }).click();
  await dialog(page).getByLabel("Reason for the clients").fill("é".repeat(100));
  await dialog(page).getByRole("button", { name: "Close the sockets" }).click();
  await dialog(page).getByRole("alert").getByText("at most 123 bytes").waitFor();
  expect(await ana.closed()).toEqual([]);
  await dialog(page).getByLabel("Reason for the clients").fill(`closing ${MARKUP}`);
  await dialog(page).getByRole("button", { name: "Close the sockets" }).click();
  await notice(page).getByText("1 socket closed.").waitFor();
  await until(
    () => ana.closed(),
    (codes) => codes.join() === "4410",
  );
  await page.getByText("No sockets.").waitFor();
  expect(await page.evaluate(() => /** @type {any} */ (globalThis).harmed)).toBeUndefined();
});

test("a room is deleted only with its name typed, and with sockets only by force", async () => {
  const ana = await Client.joins("delete", "ana");
  await ana.says("kept until then");
  const { page } = await comes("#/rooms/ROOMS/delete");
  await page.getByRole("button", { name: "Delete…" }).click();
  const really = dialog(page).getByRole("button", { name: "Delete for good" });
  expect(await really.isDisabled()).toBe(true);
  await dialog(page).getByLabel(/^Type/).fill("ROOMS/delet");
  expect(await really.isDisabled()).toBe(true);
  await dialog(page).getByLabel(/^Type/).fill("ROOMS/delete");
  await really.click();
  await dialog(page).getByRole("alert").getByText("the room has 1 socket; force the deletion").waitFor();
  await dialog(page).getByLabel("Force: close its sockets first (1 socket now)").waitFor();
  await dialog(page).getByText("Without force, a room with sockets is not deleted.").waitFor();
  expect(await ana.closed()).toEqual([]);
  await dialog(page)
    .getByLabel(/close its sockets first/)
    .check();
  await really.click();
  await notice(page).getByText("The room is deleted; 1 socket closed.").waitFor();
  await page.getByText("there is no such room").waitFor();
  expect(await ana.closed()).toEqual([4410]);
  expect(await server.stored("delete")).toEqual([]);
});

test("an exported room is imported under another name", async () => {
  await server.post("moved", "from here to there");
  const { page } = await comes("#/rooms/ROOMS/moved");
  await page.getByRole("button", { name: "Export…" }).click();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    dialog(page).getByRole("button", { name: "Export" }).click(),
  ]);
  expect(download.suggestedFilename()).toBe("ROOMS-moved.jsonl");
  const path = await download.path();
  expect(await readFile(path, "utf8")).toContain("\n");
  await page.getByRole("link", { name: "Rooms", exact: true }).first().click();
  await page.getByRole("button", { name: "Import a room…" }).click();
  await dialog(page).getByRole("button", { name: "Import" }).click();
  await dialog(page).getByRole("alert").getByText("Give the room a name.").waitFor();
  await dialog(page).getByLabel("Namespace").selectOption("ROOMS");
  await dialog(page).getByLabel("Name of the new room").fill("moved");
  await dialog(page).getByLabel("File of an export").setInputFiles(path);
  await dialog(page).getByRole("button", { name: "Import" }).click();
  await dialog(page).getByRole("alert").waitFor();
  await dialog(page).getByLabel("Name of the new room").fill("arrived");
  await dialog(page).getByRole("button", { name: "Import" }).click();
  await page.getByRole("heading", { name: "arrived", level: 1 }).waitFor();
  expect((await server.stored("arrived")).map(({ content }) => content)).toEqual(["from here to there"]);
});

test("a user is disconnected from one room, everywhere, and kept out", async () => {
  const here = await Client.joins("users-a", "eve");
  const there = await Client.joins("users-b", "eve");
  const other = await Client.joins("users-a", "fay");
  const { page } = await comes("#/users?prefix=eve");
  await page.getByRole("link", { name: "eve", exact: true }).click();
  await page.getByRole("heading", { name: "eve", level: 1 }).waitFor();
  const tail = page.getByRole("region", { name: "Live tail" });
  await tail.getByRole("button", { name: "Start" }).click();
  await tail.getByText("It runs.").waitFor();
  await other.says("not mine");
  await there.says("mine");
  await tail.getByRole("log").getByText("message of eve").first().waitFor();
  expect(await tail.getByRole("log").textContent()).not.toContain("fay");

  await page.getByRole("button", { name: "Disconnect… ROOMS/users-a" }).click();
  await dialog(page).getByRole("button", { name: "Disconnect" }).click();
  await notice(page).getByText("1 socket closed.").waitFor();
  await until(
    () => here.closed(),
    (codes) => codes.join() === "4410",
  );
  expect([await there.closed(), await other.closed()]).toEqual([[], []]);
  await until(
    () => column(page, "Sockets"),
    (rooms) => rooms.join() === "ROOMS/users-b",
  );
  await page.getByRole("button", { name: "Disconnect everywhere…" }).click();
  await dialog(page).getByRole("button", { name: "Disconnect" }).click();
  await until(
    () => there.closed(),
    (codes) => codes.join() === "4410",
  );

  const back = await Client.joins("users-a", "eve");
  await until(
    () => column(page, "Sockets"),
    (rooms) => rooms.join() === "ROOMS/users-a",
  );
  await page.getByRole("button", { name: "Revoke here… ROOMS/users-a" }).click();
  await dialog(page).getByRole("button", { name: "Revoke" }).click();
  await notice(page).getByText("Revoked; 1 socket closed.").waitFor();
  await until(
    () => back.closed(),
    (codes) => codes.length === 1,
  );
  await expect(Client.joins("users-a", "eve")).rejects.toThrow("refused");
  await until(
    () => column(page, "Revocations", 3),
    (rooms) => rooms.join() === "rooms/users-a",
  );
  await page.getByRole("button", { name: "Remove… eve" }).click();
  await dialog(page).getByRole("button", { name: "Remove" }).click();
  await page.getByText("Nothing is revoked.").waitFor();
  await Client.joins("users-a", "eve");
});

test("revocations are added, listed by user, and removed", async () => {
  const gus = await Client.joins("revoked", "gus");
  const { page } = await comes("#/revocations");
  await page.getByRole("button", { name: "Revoke…" }).click();
  await page.getByRole("alert").getByText("Fill in").waitFor();
  await page.getByLabel("User id").fill("gus");
  await page.getByRole("button", { name: "Revoke…" }).click();
  await dialog(page).getByRole("button", { name: "Revoke" }).click();
  await until(
    () => gus.closed(),
    (codes) => codes.length === 1,
  );
  await page.getByLabel("Refuse", { exact: true }).selectOption({ label: "One token" });
  await page.getByLabel("Token id (jti)").fill(`jti ${MARKUP}`);
  await page.getByRole("button", { name: "Revoke…" }).click();
  await dialog(page).getByRole("button", { name: "Revoke" }).click();
  await until(
    () => column(page, "Revocations", 2),
    (ids) => ids.join() === `gus,jti ${MARKUP}`,
  );
  const inForce = await column(page, "Revocations", 4);
  expect(inForce[0]).toMatch(/^for tokens issued up to /);
  expect(inForce[1]).toBe("until you remove it");
  await page.getByLabel("Only of the user").fill("gus");
  await page.getByRole("button", { name: "Show", exact: true }).click();
  await until(
    () => column(page, "Revocations", 2),
    (ids) => ids.join() === "gus",
  );
  await page.getByLabel("Only of the user").fill("");
  await page.getByRole("button", { name: "Show", exact: true }).click();
  for (const name of ["gus", "jti"]) {
    await page.getByRole("button", { name: `Remove… ${name}` }).click();
    await dialog(page).getByRole("button", { name: "Remove" }).click();
    await dialog(page).waitFor({ state: "detached" });
  }
  await page.getByText("Nothing is revoked.").waitFor();
  expect(await (await ask(`/revocations`)).json()).toMatchObject({ revocations: [] });
});

test("no part of a form or of a row takes the place of others", async () => {
  const { page } = await comes("#/revocations");
  await page.getByLabel("Refuse", { exact: true }).selectOption({ label: "One token" });
  for (const width of [1280, 1000, 390]) {
    await page.setViewportSize({ width, height: 900 });
    const field = await page.getByLabel("It expires").boundingBox();
    const button = await page.getByRole("button", { name: "Revoke…" }).boundingBox();
    if (!field || !button) throw new Error("they are visible");
    const isBeside = field.x + field.width <= button.x || button.y >= field.y + field.height;
    expect(isBeside, `${width}: ${JSON.stringify({ field, button })}`).toBe(true);
  }
  const reason = JSON.stringify({ reason: "a reason that is as long as it may be, ".repeat(3) });
  await ask("/rooms/ROOMS/a-room-with-a-name-of-many-words/close", { method: "POST", body: reason });
  await page.goto(`${server.admin}/#/audit`);
  const row = page.getByRole("row").filter({ hasText: "a-room-with-a-name" }).first();
  await row.waitFor();
  const height = (await row.boundingBox())?.height ?? Infinity;
  expect(height, "a row at 390 px").toBeLessThan(150);
});

test("the audit log shows the newest action first, with the operator, and has all pages", async () => {
  const { page } = await comes("#/users/nobody-at-all");
  for (let count = 0; count < 101; count += 1) {
    const headers = { "dormouse-operator": `op-${count}` };
    await ask(`/users/nobody-${count}/disconnect`, { method: "POST", headers });
  }
  await page.getByRole("button", { name: "Disconnect everywhere…" }).click();
  await dialog(page).getByRole("button", { name: "Disconnect" }).click();
  await notice(page).getByText("0 sockets closed.").waitFor();
  await page.getByRole("link", { name: "Audit log" }).click();
  const targets = () => column(page, "Actions", 5);
  await until(targets, (targets) => targets[0] === "user nobody-at-all" && targets[1] === "user nobody-100");
  expect((await column(page, "Actions", 2)).slice(0, 2)).toEqual(["Robin", "op-100"]);
  expect((await column(page, "Actions", 6)).slice(0, 2)).toEqual(["done", "done"]);
  await page.getByRole("button", { name: "Next" }).click();
  await until(targets, (targets) => targets.includes("user nobody-0") && !targets.includes("user nobody-100"));
  await page.getByRole("link", { name: "nobody-0", exact: true }).click();
  await page.getByRole("heading", { name: "nobody-0", level: 1 }).waitFor();
});

test("hostile names are shown as text, and their rooms and users can be used", async () => {
  await server.post("hostile-source", "kept");
  /** @type {[room: string, user: string][]} */
  const places = [
    [`h-${MARKUP}`, `u-${MARKUP}`],
    [`h-${REVERSED}`, `u-${REVERSED}`],
    ["-", "-"],
    ["h-dots", ".."],
    ["h-long", LONG_USER],
  ];
  /** @type {Client[]} */
  const sockets = [];
  for (const [room, user] of places) sockets.push(await Client.joins(room, user, `name of ${MARKUP}`));
  await copyRoom("hostile-source", LONG_ROOM);
  expect(new TextEncoder().encode(LONG_ROOM).length).toBe(512);
  const { page } = await comes("#/rooms?prefix=h-");
  const isHarmless = async () => {
    expect(await page.evaluate(() => /** @type {any} */ (globalThis).harmed)).toBeUndefined();
    expect(await page.locator("main#main img, main#main b").count()).toBe(0);
  };
  await page.getByText(`h-${MARKUP}`).first().waitFor();
  expect(await column(page, "Rooms")).toContain("ROOMS/h-safe\\u{202e}gnp.exe");
  await isHarmless();

  for (const [at, [room, user]] of places.entries()) {
    const shown = (/** @type {string} */ name) => name.replace("\u202e", "\\u{202e}");
    const socket = /** @type {Client} */ (sockets[at]);
    await page.goto(`${server.admin}/#/rooms/ROOMS/${encodeURIComponent(room)}`);
    await page.getByRole("heading", { name: shown(room), level: 1, exact: true }).waitFor();
    await page.getByRole("button", { name: "Broadcast…" }).click();
    await dialog(page).getByLabel("Text").fill(`to ${at}`);
    await dialog(page).getByRole("button", { name: "Send" }).click();
    await notice(page).getByText("Sent to 1 socket.").waitFor();
    await until(
      () => socket.received(),
      (received) => received.includes(`to ${at}`),
    );
    await isHarmless();
    await page.getByRole("table", { name: "Sockets", exact: true }).getByRole("link").click();
    await page.getByRole("button", { name: "Disconnect everywhere…" }).waitFor();
    const title = (await page.getByRole("heading", { level: 1 }).textContent()) ?? "";
    expect(user === LONG_USER ? title.length : title).toBe(user === LONG_USER ? 120 : shown(user));
    await page.getByRole("button", { name: "Disconnect everywhere…" }).click();
    await dialog(page).getByRole("button", { name: "Disconnect" }).click();
    await until(
      () => socket.closed(),
      (codes) => codes.join() === "4410",
    );
    await isHarmless();
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
  }

  // No browser can have this name in a path, so another program has made the room.
  await createDots();
  await page.goto(`${server.admin}/#/rooms/ROOMS/..`);
  await page.getByRole("heading", { name: "..", level: 1, exact: true }).waitFor();
  await page.getByRole("button", { name: "Delete…" }).click();
  await dialog(page).getByLabel(/^Type/).fill("ROOMS/..");
  await dialog(page).getByRole("button", { name: "Delete for good" }).click();
  await notice(page).getByText("The room is deleted.").waitFor();
  await page.getByText("there is no such room").waitFor();

  // A name of 512 bytes is cut, has its whole text as a title, and asks for the incarnation in place of itself.
  await page.goto(`${server.admin}/#/rooms?prefix=${encodeURIComponent("<b>")}`);
  const cut = page.getByRole("table", { name: "Rooms", exact: true }).getByRole("link");
  expect(await cut.textContent()).toContain("…");
  expect(await cut.locator("bdi[title]").last().getAttribute("title")).toBe(LONG_ROOM.replace("\u202e", "\\u{202e}"));
  await cut.click();
  await page.getByRole("heading", { level: 1 }).getByText("<b>").waitFor();
  await page.getByRole("button", { name: "Delete…" }).click();
  const incarnation = (await dialog(page).locator("code").textContent()) ?? "";
  expect(incarnation).toMatch(/^[0-9a-f]{16}$/);
  await dialog(page).getByLabel(/^Type/).fill(incarnation);
  await dialog(page).getByRole("button", { name: "Delete for good" }).click();
  await notice(page).getByText("The room is deleted").waitFor();
  await isHarmless();

  // A reason with commands for a terminal is in the audit log.
  const reason = JSON.stringify({ reason: `${TERMINAL}${MARKUP}` });
  await ask(`/rooms/ROOMS/h-long/close`, { method: "POST", body: reason });
  await page.goto(`${server.admin}/#/audit`);
  await until(
    () => column(page, "Actions", 7),
    ([detail]) => detail?.includes("\\u001b[2J") === true && detail.includes("<img"),
  );
  await isHarmless();
});

test("a room is found and put to sleep with the keyboard alone", async () => {
  const ana = await Client.joins("keyboard", "ana");
  await ana.says("awake");
  const { page } = await comes("#/rooms?prefix=keyboard");
  await page.getByRole("link", { name: "ROOMS/keyboard" }).waitFor();
  /** Presses Tab until the control has the focus. @param {string} text */
  const tabTo = async (text) => {
    for (let count = 0; count < 60; count += 1) {
      await page.keyboard.press("Tab");
      if ((await page.evaluate(() => document.activeElement?.textContent)) === text) return;
    }
    throw new Error(`no Tab leads to ${text}`);
  };
  await tabTo("ROOMS/keyboard");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "keyboard", level: 1 }).waitFor();
  await page.getByRole("button", { name: "Put to sleep…" }).waitFor();
  await tabTo("Put to sleep…");
  await page.keyboard.press("Enter");
  await dialog(page).waitFor();
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached" });
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Put to sleep…");
  await page.keyboard.press("Enter");
  await dialog(page).waitFor();
  await tabTo("Put to sleep");
  await page.keyboard.press("Enter");
  await notice(page).getByText("It sleeps.").waitFor();
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Put to sleep…");
});

for (const width of [390, 1280]) {
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    test(`the pages of rooms and users meet WCAG 2.2 AA at ${width} px, ${colorScheme}`, async () => {
      const room = `axe-${width}-${colorScheme}`;
      const ana = await Client.joins(room, `ana-${width}-${colorScheme}`, MARKUP);
      await ana.keepsTalking(200);
      const jti = `axe-${width}-${colorScheme}`;
      await ask(`/revocations`, { method: "POST", body: JSON.stringify({ jti }) });
      const operator = await comes("#/rooms", { viewport: { width, height: 844 }, colorScheme });
      const { page } = operator;
      const check = async () => {
        expect(await operator.barriers()).toEqual([]);
        expect(await operator.overflow()).toBeLessThanOrEqual(0);
      };
      await page.getByRole("table", { name: "Rooms", exact: true }).waitFor();
      await check();
      await page.goto(`${server.admin}/#/rooms/ROOMS/${room}`);
      const tail = page.getByRole("region", { name: "Live tail" });
      await tail.getByRole("button", { name: "Start" }).click();
      await tail.getByRole("log").locator("li").nth(3).waitFor();
      await page.getByRole("region", { name: "Storage" }).getByRole("button", { name: "Show", exact: true }).click();
      await page.getByRole("table", { name: "Entries of the storage" }).waitFor();
      await check();
      await page.getByRole("button", { name: "Delete…" }).click();
      await dialog(page).waitFor();
      await check();
      await page.keyboard.press("Escape");
      for (const [hash, heading] of [
        ["#/users", "Users"],
        [`#/users/ana-${width}-${colorScheme}`, "ana-"],
        ["#/audit", "Audit log"],
        ["#/revocations", "Revocations"],
      ]) {
        await page.goto(`${server.admin}/${hash}`);
        await page.getByRole("heading", { name: heading ?? "", level: 1 }).waitFor();
        await page.getByRole("table").first().waitFor();
        await check();
      }
    });
  }
}
