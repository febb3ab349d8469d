// @ts-check
/**
 * Builds the tests and runs them, all or those whose file has one of the given words. Scripts for the realm of an instance
 * are bundled for themselves; each test file is bundled for Node.
 *
 * With `--engine` the same tests run in the real engine: the variable DORMOUSE_BIN names a `dormouse` that finds it.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

import * as esbuild from "esbuild";

import { examples } from "./examples/build.mjs";

process.chdir(fileURLToPath(new URL(".", import.meta.url)));

const OUT = "dist";
rmSync(OUT, { recursive: true, force: true });
/** @type {esbuild.BuildOptions} */
const common = { bundle: true, target: "es2022", logLevel: "warning", sourcemap: "inline", tsconfigRaw: {} };

const isEngine = process.argv.includes("--engine");
const words = process.argv.slice(2).filter((word) => word !== "--engine");
const files = ["bundle", "create-dormouse", "durable-objects", "room", "examples", "testing"]
  .flatMap((folder) => listed(folder))
  .filter((file) => words.length === 0 || words.some((word) => file.includes(word)));

await esbuild.build({
  ...common,
  entryPoints: listed("testing/realm", /^testing\/realm\/(durable-objects|hono-worker|room|room-connected)\.ts$/),
  outdir: `${OUT}/realm`,
  format: "iife",
  alias: { "cloudflare:workers": "./durable-objects/src/workers.ts", "dormouse:host": "./testing/realm/host.ts" },
});
for (const options of examples(`${OUT}/realm`)) await esbuild.build(options);
await esbuild.build({
  ...common,
  entryPoints: files,
  entryNames: "[name]",
  outdir: `${OUT}/tests`,
  outExtension: { ".js": ".mjs" },
  format: "esm",
  platform: "node",
  external: ["esbuild", "@dormouse/test"],
  alias: { "cloudflare:workers": "./testing/outer/workers.ts" },
});
const built = files.map((file) => `${OUT}/tests/${basename(file, ".ts")}.mjs`);
const env = { ...process.env, ...(isEngine ? { DORMOUSE_TEST_COMPONENTS: await components() } : {}) };
const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...built], { stdio: "inherit", env });
process.exit(status ?? 1);

/** Builds the components of the tests. */
async function components() {
  const folder = `${OUT}/components`;
  await esbuild.build({
    ...common,
    sourcemap: true,
    entryPoints: listed("testing/engine", /(durable-objects|room)\.ts$/),
    outdir: folder,
    format: "esm",
    external: ["dormouse:*"],
    alias: { "cloudflare:workers": "./durable-objects/src/workers.ts" },
  });
  for (const { alias, inject, ...options } of examples(folder)) {
    await esbuild.build({ ...options, format: "esm", external: ["dormouse:*"] });
  }
  for (const file of listed(folder, /\.js$/)) {
    // The classes of these tests come later, so their use of SQL cannot be seen here.
    const more = basename(file) === "durable-objects.js" ? ["--sql"] : [];
    const args = ["build", "--no-bundle", file, "-o", file.replace(/\.js$/, ".wasm"), ...more];
    const { status } = spawnSync(process.env.DORMOUSE_BIN ?? "dormouse", args, { stdio: "inherit" });
    if (status !== 0) process.exit(1);
  }
  return folder;
}

/**
 * @param {string} folder
 * @param {RegExp} pattern
 */
function listed(folder, pattern = /\.test\.ts$/) {
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((file) => join(folder, file));
  return files.filter((file) => pattern.test(file) && !file.includes("node_modules")).sort();
}
