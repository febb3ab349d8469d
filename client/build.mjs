// @ts-check
/**
 * Makes `dist`: the core as it is, the React part compiled, and types for both. In a fresh clone `npm pack` begins
 * here, so it installs the compiler first.
 */

import { execFileSync } from "node:child_process";
import { cpSync, existsSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL(".", import.meta.url)));

/**
 * Output goes to stderr, because `npm pack` prints its result on stdout.
 *
 * @type {import("node:child_process").StdioOptions}
 */
const stdio = ["ignore", 2, 2];

const tsc = fileURLToPath(new URL("node_modules/typescript/bin/tsc", import.meta.url));
if (!existsSync(tsc)) {
  console.error("dormouse: the compiler is not installed yet; `npm ci` installs it");
  // Options of `npm pack` must not apply to this: with `--dry-run` nothing would be installed.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_config_(dry_run|json)$/i.test(name)),
  );
  execFileSync("npm", ["ci", "--include=dev", "--no-audit", "--no-fund"], { stdio, env });
}
rmSync("dist", { recursive: true, force: true });
execFileSync(process.execPath, [tsc, "--project", "tsconfig.build.json"], { stdio });
cpSync("react/chat-room.css", "dist/react/chat-room.css");
cpSync("../LICENSE", "LICENSE");
