// @ts-check
/** The dashboard of the admin listener, with a real server under load. */

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { launch, until } from "./browser.js";
import { HOSTILE, Operator, HOSTILE_USER, WITH_DASHBOARD } from "./operator.js";
import { ADMIN_TOKEN, Server } from "./server.js";

/** @type {Server} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;
/** @type {Operator[]} */
let operators = [];

beforeAll(async () => {
  [server, browser] = await Promise.all([Server.start(WITH_DASHBOARD), launch()]);
});

afterEach(async () => {
  const complaints = operators.flatMap((operator) => operator.complaints);
  for (const { context } of operators) await context.close();
  operators = [];
  expect(complaints).toEqual([]);
});

afterAll(async () => {
  await browser?.close();
  await server?.dispose();
});

/** @param {import("playwright-core").BrowserContextOptions} [options] */
async function comes(options) {
  const operator = await Operator.comes(browser, server.admin, options);
  operators.push(operator);
  await operator.page.getByRole("heading", { name: "Overview" }).waitFor();
  return operator;
}

/** Clients that write in some rooms, until they are stopped. */
function load(rooms = 6) {
  const size = ["--rooms", String(rooms), "--members", "4", "--rate", "5"];
  return server.run("bench", "rooms", "--url", server.url, ...size, "--duration", "10m");
}

/** @param {string} path @param {RequestInit} [init] */
async function ask(path, init) {
  const headers = { authorization: `Bearer ${ADMIN_TOKEN}`, ...init?.headers };
  const response = await fetch(server.admin + path, { ...init, headers });
  return response.json();
}

/** The value of a tile of the overview. @param {Operator} operator @param {string} name */
function tile(operator, name) {
  return operator.page.locator(".tile").filter({ hasText: name }).locator("dd").first().textContent();
}

test("only the token opens the dashboard, and a session survives a reload", async () => {
  const operator = await Operator.opens(browser, server.admin);
  operators.push(operator);
  const { page } = operator;
  await operator.signsIn("not the token of this server, by far");
  await page.getByRole("alert").getByText("This is not the admin token.").waitFor();
  // The browser logs every 401.
  operator.complaints = operator.complaints.filter((text) => !text.includes("401"));
  expect(await page.locator("#frame").isVisible()).toBe(false);
  await operator.signsIn();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await operator.goesTo("Usage");
  await page.reload();
  await page.getByRole("heading", { name: "Usage" }).waitFor();
  // Neither the token nor the cookie is there for a script.
  const kept = await page.evaluate(() => [
    document.cookie,
    ...Object.values(localStorage),
    ...Object.keys(sessionStorage),
  ]);
  expect(kept.join()).not.toContain(ADMIN_TOKEN);
  expect(kept[0]).toBe("");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Admin token").waitFor();
  await page.reload();
  await page.getByLabel("Admin token").waitFor();
  expect(await page.locator("#frame").isVisible()).toBe(false);
  const entries = (await ask("/audit")).entries;
  expect(entries.at(-1)).toMatchObject({ action: "sign in", operator: "Robin", from: "127.0.0.1" });
});

test("the overview shows a server under load", async () => {
  const writing = load();
  try {
    const { page } = operators[operators.push(await Operator.comes(browser, server.admin)) - 1] ?? expect.fail();
    const [operator] = operators;
    if (!operator) return;
    await until(
      () => tile(operator, "Sockets"),
      (text) => text === "24",
    );
    await until(
      () => tile(operator, "Awake rooms"),
      (text) => text === "6",
    );
    const rate = async (/** @type {string} */ name) => parseFloat((await tile(operator, name)) ?? "");
    await until(
      () => rate("Messages in"),
      (perSecond) => perSecond > 10,
    );
    expect(await rate("Messages out")).toBeGreaterThan(await rate("Messages in"));
    expect(await tile(operator, "Commit, p99")).toMatch(/^[\d.]+ (µs|ms|s)$/);
    // Each plot has its lines; what they show is told to those who cannot see them.
    expect(await page.locator(".plot canvas").count()).toBe(4);
    await until(
      () => page.locator("figcaption").allTextContents(),
      (texts) =>
        /Now: in [\d.]+\/s, out [\d.]+\/s/.test(texts[0] ?? "") &&
        /Now: turn [\d.]+ .s, commit [\d.]+ .?s/.test(texts[1] ?? "") &&
        texts[2] === "Now: sockets 24, awake 6" &&
        /Now: memory [\d.]+ MiB/.test(texts[3] ?? ""),
    );
    const drawn = await page.locator(".plot canvas").evaluateAll((all) =>
      all.map((one) => {
        const canvas = /** @type {HTMLCanvasElement} */ (one);
        const { data } = canvas.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height) ?? { data: [] };
        return new Set(Array.from({ length: data.length / 4 }, (_, at) => data.slice(at * 4, at * 4 + 3).join())).size;
      }),
    );
    expect(Math.min(...drawn)).toBeGreaterThan(3);
    const rooms = page.getByRole("region", { name: "Busiest rooms" });
    expect(await rooms.getByRole("row").count()).toBeGreaterThanOrEqual(7);
    await rooms.getByText("events come,").first().waitFor();
    // A list that refreshes itself keeps the focus.
    const link = rooms.getByRole("link").first();
    await link.focus();
    const href = await page.evaluate(() => document.activeElement?.getAttribute("href"));
    const answered = () => page.waitForResponse((response) => response.url().includes("/rooms?"));
    await answered();
    await answered();
    await answered();
    expect(await page.evaluate(() => document.activeElement?.tagName)).toBe("A");
    expect(href).toContain("#/rooms/ROOMS/");
    await page.getByLabel("by").selectOption("memory");
    await rooms.getByText("MiB").first().waitFor();
  } finally {
    writing.stop();
    await writing.ended;
  }
});

test("hostile names are text", async () => {
  // Its rooms stay in memory, and no others are there.
  const quiet = await Server.start(WITH_DASHBOARD.replace('"5s"', '"10m"'));
  try {
    await showsHostileNames(quiet);
  } finally {
    await quiet.dispose();
  }
});

/** @param {Server} server */
async function showsHostileNames(server) {
  const names = HOSTILE.map((name) => encodeURIComponent(name));
  const user = encodeURIComponent(HOSTILE_USER);
  for (const name of names) {
    const url = `${server.url}/api/realtime/rooms/${name}/messages?token=${user}:${user}`;
    const headers = { "Content-Type": "application/json" };
    const response = await fetch(url, { method: "POST", headers, body: JSON.stringify({ content: "hello" }) });
    expect(response.status, name).toBeLessThan(300);
  }
  const operator = await Operator.comes(browser, server.admin);
  operators.push(operator);
  const { page } = operator;
  const rooms = page.getByRole("region", { name: "Busiest rooms" });
  await rooms.getByText("<img src=x onerror=").waitFor();
  const shown = async () => (await rooms.getByRole("link").allTextContents()).map((text) => text.replace("ROOMS/", ""));
  const expected = [
    HOSTILE[0],
    HOSTILE[1],
    "\\u{202e}evil\\u{202d}",
    "\\u{2066}\\u{200b}\\u{feff}hidden",
    HOSTILE[4],
    `${"x".repeat(24)}…${"x".repeat(23)}`,
  ];
  await until(shown, (texts) => expected.every((text) => texts.includes(text ?? "")));
  expect(await page.locator("#view img, #view script").count()).toBe(0);
  expect(await page.title()).toBe("Overview · Dormouse");
  expect(await operator.overflow()).toBeLessThanOrEqual(0);
  // A room reports its usage before it sleeps.
  for (const name of names) {
    const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
    expect((await fetch(`${server.admin}/rooms/ROOMS/${name}/sleep`, { method: "POST", headers })).status).toBe(200);
  }
  await operator.goesTo("Usage");
  await page.getByLabel("Begins with").fill("<");
  await page.getByLabel("Namespace").fill("ROOMS");
  await page.getByLabel("Begins with").press("Enter");
  await page.getByRole("link", { name: "<script>document.title" }).waitFor();
  expect(await page.title()).toBe("Usage · Dormouse");
  await page.getByLabel("Of").selectOption("user");
  await page.getByRole("link", { name: "\\u{202e}<b>bo</b>" }).waitFor();
  await operator.opensPage("#/usage?namespace=ROOMS&prefix=%3C");
  await page.getByRole("link", { name: "<script>document.title" }).waitFor();
  const waiting = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download CSV" }).click();
  const file = await (await waiting).path();
  const csv = readFileSync(file, "utf8");
  expect(csv.split("\r\n")[0]).toMatch(/^room,other,events,/);
  expect(csv).toContain(`"ROOMS/<script>document.title='owned'",false,`);
}

test("code is deployed, refused and rolled back", async () => {
  const operator = await comes();
  const { page } = operator;
  // A component with another hash: the command deploys what is in the binary, and the server keeps its bytes.
  const admin = ["--admin", server.admin, "--token-file", "admin.token"];
  expect(await server.run("deploy", "PRESENCE", "builtin:chat-room", ...admin).ended).toBe(0);
  const kept = join(server.data, "deployed");
  const [file] = readdirSync(kept).filter((name) => name.endsWith(".wasm"));
  const component = Buffer.concat([readFileSync(join(kept, file ?? "")), Buffer.from([0, 2, 1, 0x78])]);

  await operator.goesTo("Deploys");
  const presence = page.getByRole("region", { name: "PRESENCE" }).first();
  await presence.getByText("deploying").first().waitFor();
  await presence.getByRole("button", { name: "End this deploy" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("What the newer code has stored stays.").waitFor();
  await page.keyboard.press("Escape");
  expect(await dialog.count()).toBe(0);
  const status = async (/** @type {string} */ target) =>
    (await ask("/deploys")).deploys.find((/** @type {any} */ deploy) => deploy.target === target);
  expect((await status("PRESENCE")).candidate).not.toBeNull();
  await presence.getByRole("button", { name: "End this deploy" }).click();
  await dialog.getByRole("button", { name: "End the deploy" }).click();
  await page.getByRole("status").getByText("PRESENCE returns to").waitFor();
  expect((await status("PRESENCE")).candidate).toBeNull();

  // None of the shipped components migrates data.
  await page.route("**/deploys", async (route) => {
    const response = await route.fetch();
    const json = await response.json();
    const of = json.deploys.find((/** @type {any} */ deploy) => deploy.target === "PRESENCE");
    of.rooms = [{ hash: of.version.hash, rooms: 3, migrated: 7 }];
    await route.fulfill({ response, json });
  });
  await presence.getByRole("columnheader", { name: "Rooms migrated" }).waitFor();
  await presence.getByRole("row").filter({ hasText: "runs" }).getByRole("cell", { name: "7", exact: true }).waitFor();
  await page.unroute("**/deploys");

  const rooms = page.getByRole("region", { name: "ROOMS" }).first();
  await rooms.getByRole("button", { name: "Deploy…" }).click();
  await dialog.getByRole("button", { name: "Deploy" }).click();
  await dialog.getByRole("alert").getByText("Choose the component").waitFor();
  await dialog
    .getByLabel("Component")
    .setInputFiles({ name: "a.wasm", mimeType: "application/wasm", buffer: Buffer.from("no") });
  await dialog.getByRole("button", { name: "Deploy" }).click();
  await until(
    () => dialog.getByRole("alert").textContent(),
    (text) => (text ?? "").length > 30 && !text?.includes("Choose"),
  );
  operator.complaints = operator.complaints.filter((text) => !text.includes("422"));
  expect((await status("ROOMS")).candidate).toBeNull();
  await dialog
    .getByLabel("Component")
    .setInputFiles({ name: "b.wasm", mimeType: "application/wasm", buffer: component });
  await dialog.getByLabel("Only this share").fill("5");
  await dialog.getByLabel("Only rooms whose name matches").fill("team-*");
  await dialog.getByRole("button", { name: "Deploy" }).click();
  await page.getByRole("status").getByText("in some rooms").waitFor();
  await rooms.getByText("5 % of the rooms, rooms that match team-*").waitFor();
  expect((await status("ROOMS")).candidate).toMatchObject({ percent: 5, pattern: "team-*" });
  await rooms.getByRole("button", { name: "End this deploy" }).click();
  await dialog.getByRole("button", { name: "End the deploy" }).click();
  await until(
    () => rooms.getByText("deploying").count(),
    (count) => count === 0,
  );
  const actions = (await ask("/audit")).entries.slice(-2).map((/** @type {any} */ entry) => entry.action);
  expect(actions).toEqual(["deploy", "roll back"]);
});

test("a deploy says that it goes on, and for how long", async () => {
  const operator = await comes();
  const { page } = operator;
  await operator.goesTo("Deploys");
  /** @type {() => void} */
  let answer = () => {};
  const held = new Promise((resolve) => (answer = () => resolve(undefined)));
  await page.route("**/deploys/ROOMS*", async (route) => {
    await held;
    await route.fulfill({
      status: 422,
      contentType: "application/problem+json",
      body: '{"detail":"it does not wake"}',
    });
  });
  await page.getByRole("region", { name: "ROOMS" }).first().getByRole("button", { name: "Deploy…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog
    .getByLabel("Component")
    .setInputFiles({ name: "a.wasm", mimeType: "application/wasm", buffer: Buffer.from("x") });
  expect(await dialog.getByRole("progressbar").count()).toBe(0);
  await dialog.getByRole("button", { name: "Deploy" }).click();
  await dialog.getByText(/is sent, compiled and tried.* [12] s/).waitFor();
  expect(await dialog.getByRole("progressbar").isVisible()).toBe(true);
  expect(await dialog.getByRole("button", { name: "Cancel" }).isDisabled()).toBe(true);
  expect(await operator.barriers()).toEqual([]);
  answer();
  await dialog.getByRole("alert").getByText("it does not wake").waitFor();
  expect(await dialog.getByRole("progressbar").count()).toBe(0);
  operator.complaints = operator.complaints.filter((text) => !text.includes("422"));
});

test("a plot of the first minutes has each time once on its axis", async () => {
  const { page } = await comes();
  const OVERVIEW = /\/overview(\?|$)/;
  const now = Math.floor(Date.now() / 60_000) * 60_000;
  for (const seconds of [5, 40, 200]) {
    await page.route(OVERVIEW, async (route) => {
      const answer = await (await route.fetch()).json();
      const at = Array.from({ length: Math.floor(seconds / 5) + 1 }, (_, point) => now + point * 5_000);
      const history = Object.fromEntries(Object.keys(answer.history).map((line) => [line, at.map(() => 1)]));
      await route.fulfill({ json: { ...answer, history: { ...history, at } } });
    });
    await page.addInitScript(() => {
      // What was drawn on each canvas since it was last cleared.
      const drawn = new Map();
      /** @type {any} */ (globalThis).drawn = drawn;
      const { clearRect, fillText } = CanvasRenderingContext2D.prototype;
      CanvasRenderingContext2D.prototype.clearRect = function (...given) {
        drawn.set(this.canvas, []);
        clearRect.apply(this, given);
      };
      CanvasRenderingContext2D.prototype.fillText = function (...given) {
        drawn.set(this.canvas, [...(drawn.get(this.canvas) ?? []), given[0]]);
        fillText.apply(this, given);
      };
    });
    await page.reload();
    await page.getByRole("heading", { name: "Overview" }).waitFor();
    const labels = () =>
      page.evaluate(() => {
        const all = [.../** @type {any} */ (globalThis).drawn.values()];
        return all.map((texts) => texts.filter((/** @type {string} */ text) => /\d:\d\d/.test(text)));
      });
    const found = await until(labels, (labels) => labels.length === 4 && labels.every(({ length }) => length > 0));
    for (const times of found) expect(new Set(times).size, times.join()).toBe(times.length);
    await page.unroute(OVERVIEW);
  }
});

test("the columns of the usage fit a window of 1280 px", async () => {
  const operator = await comes();
  const { page } = operator;
  const amounts = {
    ...{ events: 12_345_678, turns: 12_345_678, cpuSeconds: 93_784, awakeSeconds: 3_000_000, asleepSeconds: 2_000_000 },
    ...{ connectedSeconds: 3_000_000, bytesIn: 1.23e12, bytesOut: 4.56e12, deliveries: 123_456_789 },
    ...{ storageByteSeconds: 9.87e15, timers: 1_234_567, calls: 1_234_567 },
  };
  await page.route("**/usage?*", async (route) => {
    const by = new URL(route.request().url()).searchParams.get("by") ?? "room";
    const named = { room: `ROOMS/${"x".repeat(40)}`, namespace: "ROOMS", user: "u".repeat(40) }[by];
    const hour = Date.now();
    await route.fulfill({
      json: { by, from: hour, until: hour, rows: [{ [by]: named, other: false, ...amounts }], next: null },
    });
  });
  await operator.goesTo("Usage");
  for (const by of ["room", "namespace", "user"]) {
    await page.getByLabel("Of").selectOption(by);
    await page
      .getByRole("columnheader", { name: { room: "Room", namespace: "Namespace", user: "User" }[by] ?? "" })
      .waitFor();
    const region = page.getByRole("region", { name: "Usage" });
    expect(await region.evaluate(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth), by).toBe(0);
  }
});

test("the session ends in the page when the server has ended it", async () => {
  const operator = await comes();
  const { page } = operator;
  await page.evaluate(() => localStorage.setItem("dormouse-session", "forged"));
  await page.getByRole("alert").getByText("Your session has ended.").waitFor();
  operator.complaints = operator.complaints.filter((text) => !text.includes("401"));
});

test("a keyboard is enough", async () => {
  const operator = await comes();
  const { page } = operator;
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Overview");
  await page.reload();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await page.keyboard.press("Tab");
  const focused = () => page.evaluate(() => document.activeElement?.textContent);
  expect(await focused()).toBe("Skip to the content");
  await page.keyboard.press("Enter");
  expect(await page.evaluate(() => document.activeElement?.id)).toBe("main");
  expect(await page.getByRole("heading", { name: "Overview" }).isVisible()).toBe(true);
  await page.getByRole("link", { name: "Deploys" }).focus();
  await page.keyboard.press("Enter");
  await until(focused, (text) => text === "Deploys");
  const button = page.getByRole("button", { name: "Deploy…" }).first();
  await button.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
});

for (const [width, height] of /** @type {const} */ ([
  [390, 844],
  [1280, 900],
])) {
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    test(`the dashboard meets WCAG 2.2 AA at ${width} px, ${colorScheme}`, async () => {
      const operator = await Operator.opens(browser, server.admin, { viewport: { width, height }, colorScheme });
      operators.push(operator);
      const { page } = operator;
      expect(await operator.barriers()).toEqual([]);
      await operator.signsIn();
      await page.getByRole("region", { name: "Busiest rooms" }).or(page.getByText("No room is in memory.")).waitFor();
      for (const title of ["Overview", "Deploys", "Usage"]) {
        await operator.goesTo(title);
        await page.locator(".table, .none").first().waitFor();
        expect(await operator.barriers(), title).toEqual([]);
        expect(await operator.overflow(), title).toBeLessThanOrEqual(0);
      }
      await operator.goesTo("Deploys");
      await page.getByRole("button", { name: "Deploy…" }).first().click();
      await page.getByRole("dialog").waitFor();
      expect(await operator.barriers()).toEqual([]);
      expect(await operator.overflow()).toBeLessThanOrEqual(0);
    });
  }
}
