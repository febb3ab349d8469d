// @ts-check
/** The package as a user gets it: packed, installed in an app outside the repository, built, and used. */

import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launch } from "./browser.js";
import { Person } from "./people.js";
import { Server } from "./server.js";

const CLIENT = fileURLToPath(new URL("../..", import.meta.url));
const FOLDER = mkdtempSync(join(tmpdir(), "dormouse-package-"));
const APP = join(FOLDER, "app");

/** @type {Server} */
let server;
/** @type {import("playwright-core").Browser} */
let browser;
/** @type {import("node:child_process").ChildProcess | undefined} */
let preview;

beforeAll(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
});

afterAll(async () => {
  preview?.kill();
  await browser?.close();
  await server?.dispose();
  rmSync(FOLDER, { recursive: true, force: true });
});

/** @param {string} kind @returns {string[]} The README's blocks of this kind. */
function readmeBlocks(kind) {
  const readme = readFileSync(join(CLIENT, "README.md"), "utf8");
  return Array.from(readme.matchAll(new RegExp(`^\`\`\`${kind}\\n([^]*?)^\`\`\``, "gm")), (match) => match[1] ?? "");
}

/** @param {string[]} args */
function npm(args, cwd = APP) {
  const { status, stdout, stderr } = spawnSync("npm", args, { cwd, encoding: "utf8" });
  if (status !== 0) throw new Error(`npm ${args.join(" ")}:\n${stdout}\n${stderr}`);
  return stdout;
}

/** @returns {Promise<string>} Where the built app is served. */
function serveBuilt() {
  const vite = join(APP, "node_modules", "vite", "bin", "vite.js");
  const args = ["preview", "--host", "127.0.0.1", "--port", "0"];
  const child = spawn(process.execPath, [vite, ...args], {
    cwd: APP,
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, DORMOUSE: server.url, NO_COLOR: "1" },
  });
  preview = child;
  return new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const address = /http:\/\/127\.0\.0\.1:\d+/.exec(line);
      if (address) resolve(address[0]);
    });
    child.once("exit", (code) => reject(new Error(`vite preview ended with ${code}`)));
  });
}

test("an app with the package builds all examples of the README", async () => {
  const [packed] = JSON.parse(npm(["pack", "--json", "--pack-destination", FOLDER], CLIENT));
  const files = packed.files.map((/** @type {{ path: string }} */ { path }) => path);
  expect(files).toEqual(
    expect.arrayContaining([
      "LICENSE",
      "PROTOCOL.md",
      "README.md",
      "package.json",
      "dist/src/index.d.ts",
      "dist/react/chat-room.css",
    ]),
  );
  expect(
    files.filter(
      (/** @type {string} */ path) =>
        !/^(LICENSE|PROTOCOL\.md|README\.md|package\.json|dist\/.+\.(js|d\.ts|css))$/.test(path),
    ),
  ).toEqual([]);

  mkdirSync(APP);
  for (const name of ["index.html", "vite.config.ts", "tsconfig.json", "src"])
    cpSync(join(CLIENT, "example", name), join(APP, name), { recursive: true });
  const manifest = JSON.parse(readFileSync(join(CLIENT, "example", "package.json"), "utf8"));
  manifest.dependencies["@dormouse/client"] = `file:../${packed.filename}`;
  writeFileSync(join(APP, "package.json"), JSON.stringify(manifest));
  readmeBlocks("tsx").forEach((block, index) => writeFileSync(join(APP, "src", `readme-${index}.tsx`), block));
  const [, plain = ""] = readmeBlocks("ts");
  writeFileSync(join(APP, "src", "readme.ts"), plain);
  // The README's first app instead of the example's.
  const main = join(APP, "src", "main.tsx");
  writeFileSync(
    main,
    readFileSync(main, "utf8").replace('import { App } from "./App.tsx"', 'import App from "./readme-0.tsx"'),
  );
  npm(["install", "--no-audit", "--no-fund"]);
  npm(["run", "build"]);
  expect(readdirSync(join(APP, "dist", "assets")).length).toBeGreaterThan(1);

  const url = await serveBuilt();
  const context = await browser.newContext();
  const ana = new Person(context, await context.newPage());
  await ana.page.goto(url);
  await ana.isConnected();
  await ana.says("before");
  await ana.sees(["before"]);
  await server.kill();
  await ana.says("in the middle");
  await ana.page.getByText("Kept until the room is back").waitFor();
  await server.start();
  await ana.sees(["before", "in the middle"]);
  await ana.isConnected();
  expect((await server.stored("lobby")).map(({ content }) => content)).toEqual(["before", "in the middle"]);
  expect(ana.complaints).toEqual([]);
}, 180_000);

test("`npm pack` alone packs a fresh clone", () => {
  const clone = join(FOLDER, "clone");
  const isMade = (/** @type {string} */ path) =>
    /[\\/](node_modules|dist|LICENSE)$/.test(path.slice(CLIENT.length - 1));
  cpSync(CLIENT, join(clone, "client"), { recursive: true, filter: (path) => !isMade(path) });
  cpSync(join(CLIENT, "..", "LICENSE"), join(clone, "LICENSE"));
  const [packed] = JSON.parse(npm(["pack", "--json"], join(clone, "client")));
  const files = packed.files.map((/** @type {{ path: string }} */ { path }) => path);
  expect(files).toEqual(
    expect.arrayContaining(["LICENSE", "PROTOCOL.md", "dist/src/index.js", "dist/react/index.d.ts"]),
  );
}, 180_000);
