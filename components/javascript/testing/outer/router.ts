/** Workers as routers, for tests. */
import { fileURLToPath } from "node:url";

import { Instance } from "./instance.js";
import type { Options } from "./objects.js";
import { requestOf, type Sent } from "./test-room.js";
import { World } from "./world.js";

const BUNDLE = fileURLToPath(new URL("../realm/durable-objects.js", import.meta.url));

export class TestRouter {
  readonly world = new World("", "");
  readonly #bundle: string;
  readonly #entry: string;

  constructor(bundle: string, entry = "") {
    this.#bundle = bundle;
    this.#entry = entry;
  }

  /** Each request has an instance of its own. Bodies of the decision are text. */
  route(sent: Sent): any {
    const decision = new Instance(this.world, this.#bundle, this.#entry).run("route", { request: requestOf(sent) });
    const withBody = decision.respond ?? (decision.request ?? decision.connect).request;
    withBody.body = Buffer.from(withBody.body, "latin1").toString("utf8");
    return decision;
  }
}

/** A router of a Worker, which goes into the realm as text. */
export const routerOf = (worker: object, bindings: Pick<Options, "namespaces" | "vars"> = {}): TestRouter => {
  const text =
    typeof worker === "function"
      ? String(worker)
      : `{${Object.entries(worker)
          .map(([name, value]) =>
            /^(async )?(fetch|function)\b/.test(String(value)) ? method(name, value) : `${name}: ${value}`,
          )
          .join()}}`;
  return new TestRouter(BUNDLE, `serveWorker((${text}), ${JSON.stringify(bindings)});`);
};

/** A method's text is no expression; a function's is. */
const method = (name: string, value: unknown): string => {
  const text = String(value);
  return /^(async )?function/.test(text) ? `${name}: ${text}` : text;
};
