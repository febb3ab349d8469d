// @ts-check
/** From an empty folder to a chat of one's own in two windows, and to an edit that is live in both. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { afterAll, beforeAll, expect, test } from "vitest";
import { launch } from "./browser.js";
import { BINARY } from "./server.js";

/** The packages for rooms: `make packages-setup` installs what they need. */
const PACKAGES = fileURLToPath(new URL("../../../components/javascript", import.meta.url));
const env = { ...process.env, DORMOUSE_BIN: BINARY, PATH: `${dirname(BINARY)}:${process.env.PATH}` };

/** Types are checked, and components are built and compiled, several times. */
const TIMEOUT_MS = 600_000;

const folder = mkdtempSync(join(tmpdir(), "dormouse-new-"));
/** @type {import("playwright-core").Browser} */
let browser;
/** @type {Set<import("node:child_process").ChildProcess>} */
const running = new Set();

beforeAll(async () => {
  if (!existsSync(join(PACKAGES, "durable-objects/dist"))) execFileSync(process.execPath, [`${PACKAGES}/build.mjs`]);
  browser = await launch();
});

afterAll(async () => {
  for (const child of running) child.kill("SIGKILL");
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

/**
 * A new project, with the packages of this source in place of `npm install`.
 *
 * @param {...string} args
 */
function create(...args) {
  execFileSync(process.execPath, [`${PACKAGES}/create-dormouse/index.js`, ...args], { cwd: folder, env });
  const project = join(folder, /** @type {string} */ (args[0]));
  symlinkSync(join(PACKAGES, "node_modules"), join(project, "node_modules"));
  return project;
}

/**
 * `npm run dev`. Resolves when it serves.
 *
 * @param {string} project
 */
async function develop(project) {
  const args = ["dev", "--listen", "127.0.0.1:0"];
  const child = spawn(BINARY, args, { cwd: project, env, stdio: ["ignore", "ignore", "pipe"] });
  running.add(child);
  child.once("exit", () => running.delete(child));
  let log = "";
  /** @type {Set<() => void>} */
  const waiting = new Set();
  createInterface({ input: child.stderr }).on("line", (line) => {
    log += `${line}\n`;
    for (const look of waiting) look();
  });
  /** @param {RegExp} pattern */
  const says = (pattern) =>
    new Promise((/** @type {(found: RegExpExecArray) => void} */ resolve, reject) => {
      const look = () => {
        const found = pattern.exec(log);
        if (!found) return;
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      child.once("exit", () => reject(new Error(`it ended:\n${log}`)));
      look();
    });
  const [, url = ""] = await says(/ready on (http:\S+)/);
  const end = async () => {
    child.kill("SIGINT");
    const [code] = child.exitCode === null ? await once(child, "exit") : [child.exitCode];
    return code;
  };
  return { url, says, end };
}

test("a new Worker is a chat in two windows, and an edit is live in both", { timeout: TIMEOUT_MS }, async () => {
  const project = create("my-chat");
  execFileSync("npm", ["test"], { cwd: project, env, stdio: "pipe" });
  // The admin listener has a port of its own, which another test may use.
  const config = join(project, "dormouse.toml");
  writeFileSync(config, readFileSync(config, "utf8").replace(":8788", ":0"));
  const { url, says, end } = await develop(project);
  const context = await browser.newContext();
  context.setDefaultTimeout(60_000);
  const [ana, bo] = await Promise.all(
    ["ana", "bo"].map(async (name) => {
      const page = await context.newPage();
      await page.goto(`${url}/?name=${name}`);
      await page.getByText(`${name} in lobby`).waitFor();
      return page;
    }),
  );
  if (!ana || !bo) throw new Error("there are two");
  let closed = 0;
  ana.on("websocket", () => (closed += 1));

  await ana.getByRole("textbox").fill("hello");
  await ana.getByRole("button", { name: "Send" }).click();
  await bo.getByText("ana: hello").waitFor();

  const source = join(project, "src/index.ts");
  const edited = readFileSync(source, "utf8").replace("text: message }", "text: message.toUpperCase() }");
  writeFileSync(source, edited);
  await says(/CHAT_ROOM is live with wrangler.jsonc/);
  await bo.getByRole("textbox").fill("tea?");
  await bo.getByRole("button", { name: "Send" }).click();
  await ana.getByText("bo: TEA?").waitFor();
  expect(closed, "ana's socket stayed open").toBe(0);
  expect(await ana.getByRole("listitem").allTextContents()).toEqual(["ana: hello", "bo: TEA?"]);

  writeFileSync(source, `${edited}\nconst wrong: = 1;\n`);
  await says(/not built, the version before goes on running:[^]*index.ts:\d+:13/);
  await ana.reload();
  await ana.getByText("bo: TEA?").waitFor();
  await context.close();
  expect(await end()).toBe(0);
});

test("a new room in TypeScript passes its tests and is served", { timeout: TIMEOUT_MS }, async () => {
  const project = create("my-room", "--room");
  execFileSync("npm", ["test"], { cwd: project, env, stdio: "pipe" });
  const config = join(project, "dormouse.toml");
  writeFileSync(config, readFileSync(config, "utf8").replace(":8788", ":0"));
  const { url, end } = await develop(project);
  const answer = await fetch(`${url}/api/realtime/rooms/any/notes`, { headers: { Authorization: "Bearer 1:ana" } });
  expect(await answer.json()).toEqual([]);
  expect(await end()).toBe(0);
});
