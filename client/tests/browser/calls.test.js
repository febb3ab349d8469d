// @ts-check
/** `call` of `useRoomSocket`, in a browser, with a room of `@dormouse/room` in the real server, which is killed. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { afterAll, beforeAll, expect, test } from "vitest";
import { launch } from "./browser.js";
import { BINARY, Server } from "./server.js";
import { serveSite } from "./site.js";

/** The packages for rooms, with esbuild: `make packages-setup` installs it. */
const PACKAGES = fileURLToPath(new URL("../../../components/javascript", import.meta.url));

const folder = mkdtempSync(join(tmpdir(), "dormouse-calls-"));
/** @type {Server} */
let server;
/** @type {Awaited<ReturnType<typeof serveSite>>} */
let site;
/** @type {import("playwright-core").Browser} */
let browser;
/** @type {import("playwright-core").Page} */
let page;

beforeAll(async () => {
  const component = join(folder, "purse.wasm");
  const alias = `--alias:@dormouse/room=${PACKAGES}/room/src/index.ts`;
  execFileSync(BINARY, ["build", "tests/browser/rooms/purse.ts", "-o", component, "--", alias], {
    env: { ...process.env, PATH: `${PACKAGES}/node_modules/.bin:${process.env.PATH}` },
  });
  server = await Server.start(`[identity]\nauth = "dev"\n[namespaces.PURSES]\ncomponent = "${component}"\n`);
  [site, browser] = await Promise.all([serveSite("tests/browser/pages", server.url), launch()]);
  page = await (await browser.newContext()).newPage();
  await page.goto(`${site.url}/?show=calls`);
  await page.getByText("connected", { exact: true }).waitFor();
});

afterAll(async () => {
  await browser?.close();
  await site?.close();
  await server?.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** @param {number} number */
const pay = (number) => page.evaluate((number) => globalThis.pay(number), number);

async function paid() {
  const response = await fetch(`${server.url}/api/realtime/purses/any/`, { headers: { Authorization: "Bearer 1:x" } });
  return /** @type {Promise<number[]>} */ (response.json());
}

test("a call is answered, and an error goes to the caller", async () => {
  expect(await pay(1)).toBe(1);
  expect(await pay(13)).toBe("unlucky");
  expect(await pay(0)).toBe("bad_args");
  expect(await pay(2)).toBe(2);
});

test("calls run exactly once although the server is killed", async () => {
  const before = await paid();
  const numbers = Array.from({ length: 60 }, (_, index) => 100 + index);
  /** @type {Promise<number | string>[]} */
  const answers = [];
  for (let round = 0; round < 3; round += 1) {
    for (const number of numbers.slice(round * 20, round * 20 + 20)) answers.push(pay(number));
    await Promise.race(answers.slice(-20)); // some of them have run, others wait
    await server.kill();
    await server.start();
  }
  const counts = await Promise.all(answers);
  expect(counts.every((count) => typeof count === "number")).toBe(true);
  const after = await paid();
  expect(after.slice(before.length).sort()).toEqual(numbers);
  expect([...counts].sort()).toEqual(numbers.map((_, index) => before.length + 1 + index).sort());
});
