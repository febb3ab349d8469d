// @ts-check
/**
 * Builds the tests and runs them, all or those whose file has one of the given words. Scripts for the realm of an instance
 * are bundled for themselves; each test file is bundled for Node.
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

const words = process.argv.slice(2);
const files = ["bundle", "durable-objects", "room", "examples", "testing"]
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
  external: ["esbuild"],
  alias: { "cloudflare:workers": "./testing/outer/workers.ts" },
});
const built = files.map((file) => `${OUT}/tests/${basename(file, ".ts")}.mjs`);
const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...built], { stdio: "inherit" });
process.exit(status ?? 1);

/**
 * @param {string} folder
 * @param {RegExp} pattern
 */
function listed(folder, pattern = /\.test\.ts$/) {
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((file) => join(folder, file));
  return files.filter((file) => pattern.test(file) && !file.includes("node_modules")).sort();
}
