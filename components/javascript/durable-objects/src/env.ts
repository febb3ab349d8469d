/** `env`: namespaces and variables that were named at build time; else the operator's configuration of the namespace. */
import * as host from "dormouse:host";

import { DurableObjectNamespace, type Reach } from "./rooms/namespace.js";

/** What `env` has, by name. */
export interface Bindings {
  /** A binding and the namespace of its rooms. */
  namespaces?: Record<string, string>;
  /** Texts or JSON, as in `vars` of a wrangler configuration. The operator's `config` has precedence. */
  vars?: Record<string, unknown>;
}

const made = new Map<string, unknown>();
let vars: Record<string, unknown> = {};

export const setBindings = (bindings: Bindings, reach: Reach): void => {
  vars = bindings.vars ?? {};
  for (const [name, namespace] of Object.entries(bindings.namespaces ?? {})) {
    made.set(name, new DurableObjectNamespace(namespace, reach));
  }
};

const read = (name: string): unknown => {
  if (made.has(name)) return made.get(name);
  const configured = host.building() ? undefined : host.config(name);
  return configured ?? (Object.hasOwn(vars, name) ? vars[name] : undefined);
};

/** Also the export of `cloudflare:workers`. */
export const env: Record<string, unknown> = new Proxy(
  {},
  {
    get: (_target, name) => (typeof name === "string" ? read(name) : undefined),
    has: (_target, name) => typeof name === "string" && read(name) !== undefined,
    ownKeys: () => [...new Set([...made.keys(), ...Object.keys(vars)])],
    getOwnPropertyDescriptor: (_target, name) =>
      typeof name === "string" && read(name) !== undefined
        ? { value: read(name), enumerable: true, configurable: true }
        : undefined,
  },
);
