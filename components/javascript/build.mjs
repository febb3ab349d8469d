// @ts-check
/** Compiles the packages: `dist` of each has its modules, and types where it has none of its own. */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL(".", import.meta.url)));

for (const name of ["durable-objects", "room", "test"]) {
  if (!existsSync(`${name}/tsconfig.json`)) continue;
  rmSync(`${name}/dist`, { recursive: true, force: true });
  const tsc = ["node_modules/typescript/bin/tsc", "--project", `${name}/tsconfig.build.json`];
  execFileSync(process.execPath, tsc, { stdio: ["ignore", 2, 2] });
  cpSync("../../LICENSE", `${name}/LICENSE`);
}

// The types of the library name those of the host, which are no module of a package.
cpSync("engine/host.d.ts", "room/dist/host.d.ts");
for (const file of ["room/dist/index.d.ts", "room/dist/connected.d.ts"]) {
  writeFileSync(file, `/// <reference path="./host.d.ts" />\n${readFileSync(file, "utf8")}`);
}
