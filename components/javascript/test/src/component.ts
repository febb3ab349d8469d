/** Makes a component from a source file, once for all tests of a process; finds the program `dormouse`. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** How a source file becomes a component. */
export interface Build {
  /** The class, if the file has a Durable Object class; without it, its default export is a room of `@dormouse/room`. */
  class?: string;
  /** The file has a Worker: `TestRouter` loads it. */
  worker?: boolean;
  /** For a Durable Object class: see `dormouse-bundle --help`. */
  namespaces?: Record<string, string>;
  remember?: string[];
  onError?: "keep" | "rollback";
  identity?: Record<string, "id" | "name">;
}

const built = new Map<string, string>();
let folder: string | undefined;

/** The component of a source file, or the file itself if it is one. */
export const componentOf = (file: string, build: Build = {}): string => {
  if (file.endsWith(".wasm")) return resolve(file);
  const key = JSON.stringify([resolve(file), build]);
  let component = built.get(key);
  if (!component) {
    folder ??= temporaryFolder();
    component = join(folder, `${built.size}.wasm`);
    const bundle = join(folder, `${built.size}.js`);
    const cli = join(dirname(createRequire(import.meta.url).resolve("@dormouse/bundle/package.json")), "cli.js");
    execute(process.execPath, [cli, file, "-o", bundle, ...optionsOf(build)]);
    execute(program(), ["build", "--no-bundle", bundle, "-o", component]);
    built.set(key, component);
  }
  return component;
};

const optionsOf = ({ class: className, worker, namespaces, remember, onError, identity }: Build): string[] => [
  ...(className === undefined ? [] : ["--class", className]),
  ...(worker ? ["--worker"] : []),
  ...Object.entries(namespaces ?? {}).flatMap(([name, namespace]) => ["--namespace", `${name}=${namespace}`]),
  ...(remember ?? []).flatMap((field) => ["--remember", field]),
  ...(onError === undefined ? [] : ["--on-error", onError]),
  ...Object.entries(identity ?? {}).flatMap(([name, field]) => ["--identity", `${name}=${field}`]),
];

const temporaryFolder = (): string => {
  const made = mkdtempSync(join(tmpdir(), "dormouse-test-"));
  process.on("exit", () => rmSync(made, { recursive: true, force: true }));
  return made;
};

const execute = (command: string, args: string[]): void => {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
  if (error) throw new Error(`${command} cannot be started: ${error.message}`);
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} failed:\n${stderr}${stdout}`);
};

/** `DORMOUSE_BIN`; else the one on the `PATH`; else the newest that the source around this package has built. */
export const program = (): string => {
  const named = process.env["DORMOUSE_BIN"];
  if (named) return named;
  const onPath = (process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "dormouse"));
  const target = fileURLToPath(new URL("../../../../target", import.meta.url));
  const built = ["release", "debug"]
    .map((profile) => join(target, profile, "dormouse"))
    .filter((file) => existsSync(file));
  built.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  const found = [...onPath.filter((file) => existsSync(file)), ...built][0];
  if (found) return found;
  throw new Error("the program dormouse was not found: put it on the PATH, or name it with DORMOUSE_BIN");
};
