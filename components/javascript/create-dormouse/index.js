#!/usr/bin/env node
// @ts-check
/**
 * `npm create dormouse`: begins a project. The program dormouse has the templates, and the project needs it anyway, so
 * this only finds it and asks it.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

const USAGE = `npm create dormouse NAME              a Worker with a Durable Object and a page: a chat
npm create dormouse NAME -- --room    a room of @dormouse/room

Other options are those of \`dormouse new\`, such as --kit PATH.`;

/** `DORMOUSE_BIN`; else the one on the `PATH`; else the one that the source around this package has built. */
const program = () => {
  const named = process.env["DORMOUSE_BIN"];
  if (named) return named;
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  const built = ["release", "debug"].map((profile) =>
    fileURLToPath(new URL(`../../../target/${profile}`, import.meta.url)),
  );
  const found = [...folders, ...built].map((folder) => join(folder, "dormouse")).find((file) => existsSync(file));
  if (!found) {
    throw new Error(
      "the program dormouse was not found: build it with `cargo build --release` in Dormouse's source, and put it on " +
        "the PATH, or name it with DORMOUSE_BIN",
    );
  }
  return found;
};

const run = () => {
  const args = process.argv.slice(2);
  if (args.length === 0 || args.includes("--help") || args.includes("-h")) {
    console.log(USAGE);
    return args.length === 0 ? 1 : 0;
  }
  const rest = args.filter((arg) => arg !== "--room");
  const kind = rest.length < args.length ? ["room", "--language", "typescript"] : ["worker"];
  const { status, error } = spawnSync(program(), ["new", ...kind, ...rest], { stdio: "inherit" });
  if (error) throw new Error(`the program dormouse cannot be started: ${error.message}`);
  return status ?? 1;
};

try {
  process.exitCode = run();
} catch (error) {
  console.error(`create-dormouse: ${/** @type {Error} */ (error).message}`);
  process.exitCode = 1;
}
