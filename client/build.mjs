// @ts-check
/** Makes `dist`: the core as it is, React's part compiled, and types for both. */

import { execFileSync } from "node:child_process";
import { cpSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL(".", import.meta.url)));
rmSync("dist", { recursive: true, force: true });
const tsc = fileURLToPath(new URL("node_modules/typescript/bin/tsc", import.meta.url));
execFileSync(process.execPath, [tsc, "--project", "tsconfig.build.json"], { stdio: "inherit" });
cpSync("react/chat-room.css", "dist/react/chat-room.css");
cpSync("../LICENSE", "LICENSE");
