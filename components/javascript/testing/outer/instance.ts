/**
 * One instance of a room in a realm of its own: it has what QuickJS has, and its memory ends with it. Its jobs run when a
 * script has ended, as the engine runs them, so a turn is synchronous for the test.
 */
import { readFileSync } from "node:fs";
import vm from "node:vm";

import type { World } from "./world.js";

const scripts = new Map<string, vm.Script>();

/** A script of `npm run build`, compiled once. */
const script = (file: string): vm.Script => {
  let found = scripts.get(file);
  if (!found) {
    found = new vm.Script(readFileSync(file, "utf8"), { filename: file });
    scripts.set(file, found);
  }
  return found;
};

/** A handler that rejects alone is logged by the engine; Node would end the process. */
process.on("unhandledRejection", (error) => console.error("unhandled rejection in a test:", error));

/** The most calls of `idle` in one event: a bundle that always has more to run is wrong. */
const MAX_IDLE = 10_000;

export class Instance {
  readonly #context: vm.Context;

  /** `bundle` is a file with the packages, `entry` the code of the author, which calls `serve`. */
  constructor(world: World, bundle: string, entry: string) {
    this.#context = vm.createContext(
      { __world: world.bridge, __node: { URL, URLSearchParams, TextEncoder, TextDecoder, atob, btoa } },
      { microtaskMode: "afterEvaluate" },
    );
    world.isBuilding = true;
    script(bundle).runInContext(this.#context);
    vm.runInContext(entry, this.#context, { filename: "the room of the test" });
    world.isBuilding = false;
  }

  /** Runs a hook. Returns its result, or throws if the turn fails. */
  run(hook: string, event: object = {}): any {
    this.#evaluate(`__start(${JSON.stringify(hook)}, ${JSON.stringify(JSON.stringify(event))})`);
    for (let calls = 0; this.#evaluate("__idle()") === true; calls++) {
      if (calls === MAX_IDLE) throw new Error(`idle() always has more to run`);
    }
    const outcome = this.#evaluate("__outcome()") as string | undefined;
    if (outcome === undefined) throw new TurnFailure(`${hook} waits for something that never comes`);
    const { value, error } = JSON.parse(outcome);
    if (error !== undefined) throw new TurnFailure(error);
    return value;
  }

  /** The version of the data that the bundle declares. */
  get dataVersion(): number | undefined {
    return this.#evaluate("__data_version()") as number | undefined;
  }

  /** The world that the bundle asks for. */
  get world(): string {
    return this.#evaluate("__world_of_hooks()") as string;
  }

  #evaluate(code: string): unknown {
    return vm.runInContext(code, this.#context);
  }
}

/** A turn that failed: nothing of it is kept. */
export class TurnFailure extends Error {}
