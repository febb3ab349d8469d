// @ts-check
/** `useWebSocket` in a browser, with StrictMode on. */

import { afterAll, beforeAll, expect, test } from "vitest";
import { launch, until } from "./browser.js";
import { Person } from "./people.js";
import { Server } from "./server.js";
import { serveSite } from "./site.js";

/** @type {Server} */
let server;
/** @type {Awaited<ReturnType<typeof serveSite>>} */
let site;
/** @type {import("playwright-core").Browser} */
let browser;

beforeAll(async () => {
  server = await Server.start();
  [site, browser] = await Promise.all([serveSite("tests/browser/pages", server.url), launch()]);
});

afterAll(async () => {
  await browser?.close();
  await site?.close();
  await server?.dispose();
});

async function comes() {
  const context = await browser.newContext();
  const ana = new Person(context, await context.newPage());
  await ana.page.goto(`${site.url}/?show=socket`);
  await ana.page.getByText("connected", { exact: true }).waitFor();
  return ana;
}

test("inline callbacks do not reconnect; the newest is called", async () => {
  const ana = await comes();
  for (let renders = 0; renders < 3; renders += 1) await ana.page.getByRole("button", { name: "Render" }).click();
  await ana.page.getByRole("button", { name: "Say hello" }).click();
  await ana.page.getByText("message, 3 renders").waitFor();
  expect(ana.sockets.length).toBe(1);
  expect(ana.complaints).toEqual([]);
  await ana.context.close();
});

test("unmounting closes the socket for good", async () => {
  const ana = await comes();
  await ana.page.clock.install();
  await ana.page.getByRole("button", { name: "Unmount" }).click();
  await ana.page.clock.runFor(100);
  await until(
    () => ana.openSockets.length,
    (count) => count === 0,
  );
  await ana.page.clock.runFor(120_000);
  expect(ana.sockets.length).toBe(1);
  await ana.page.getByRole("button", { name: "Mount", exact: true }).click();
  await ana.page.clock.runFor(100);
  await until(
    () => ana.openSockets.length,
    (count) => count === 1,
  );
  expect(ana.complaints).toEqual([]);
  await ana.context.close();
});

test("disconnect is final until connect", async () => {
  const ana = await comes();
  await ana.page.getByRole("button", { name: "Disconnect" }).click();
  await ana.page.getByText("close 1000").waitFor();
  await ana.page.getByText("not connected").waitFor();
  await ana.page.getByRole("button", { name: "Connect", exact: true }).click();
  await ana.page.getByText("connected", { exact: true }).waitFor();
  expect(ana.sockets.length).toBe(2);
  await ana.context.close();
});

test("a socket reconnects to a killed server", async () => {
  const ana = await comes();
  await server.kill();
  await ana.page.getByText("not connected").waitFor();
  await server.start();
  await ana.page.getByText("connected", { exact: true }).waitFor();
  await ana.page.getByText("close 1006").first().waitFor();
  expect(ana.complaints).toEqual([]);
  await ana.context.close();
});
