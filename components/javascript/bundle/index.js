// @ts-check
/**
 * Bundles a room, a Durable Object class or a Worker into one ES module for `dormouse build`, with esbuild. What runs in
 * the room comes from `@dormouse/room` and `@dormouse/durable-objects`; this adds the few lines that hand the author's
 * class over.
 */
import { dirname, resolve } from "node:path";

import * as esbuild from "esbuild";

/**
 * @typedef {object} Bindings
 * @property {Record<string, string>} [namespaces] a binding in `env`, and the namespace of its rooms
 * @property {Record<string, unknown>} [vars] other entries of `env`
 *
 * @typedef {object} ObjectOptions
 * @property {"keep" | "rollback"} [onError] what becomes of a turn whose handler throws; default `keep`
 * @property {string[]} [remember] fields with a Map or a Set that are stored while the room sleeps
 * @property {{ query: Record<string, "id" | "name"> }} [identity] writes the verified user into the query
 *
 * @typedef {{ kind: "room" }
 *   | { kind: "object", className: string } & Bindings & ObjectOptions
 *   | { kind: "worker" } & Bindings} Target
 */

/** The code that calls `serve`. Its first import sets the globals, so the order matters. */
const entryOf = (/** @type {string} */ file, /** @type {Target} */ target) => {
  const from = JSON.stringify(file);
  switch (target.kind) {
    case "room":
      return `import { serve } from "@dormouse/room";\nimport Room from ${from};\nserve(Room);\n`;
    case "object": {
      const { kind, className, ...options } = target;
      return (
        `import { serve } from "@dormouse/durable-objects";\n` +
        `import { ${className} as Class } from ${from};\nserve(Class, ${JSON.stringify(options)});\n`
      );
    }
    case "worker": {
      const { kind, ...bindings } = target;
      return (
        `import { serveWorker } from "@dormouse/durable-objects";\n` +
        `import worker from ${from};\nserveWorker(worker, ${JSON.stringify(bindings)});\n`
      );
    }
  }
};

/**
 * The options of esbuild for a bundle. `file` is the module with the class or the Worker, `out` the bundle.
 *
 * @param {string} file
 * @param {Target} target
 * @param {string} out
 * @returns {esbuild.BuildOptions}
 */
export const buildOptions = (file, target, out) => ({
  stdin: { contents: entryOf(resolve(file), target), resolveDir: dirname(resolve(file)), sourcefile: "entry.js" },
  outfile: out,
  bundle: true,
  format: "esm",
  target: "es2023",
  platform: "neutral",
  mainFields: ["module", "main"],
  conditions: ["workerd", "worker"],
  external: ["dormouse:*"],
  plugins: [resolvePlugin],
  sourcemap: true,
  logLevel: "warning",
});

/**
 * Makes a bundle, with its source map beside it.
 *
 * @param {string} file
 * @param {Target} target
 * @param {string} out
 */
export const bundle = async (file, target, out) => {
  await esbuild.build(buildOptions(file, target, out));
};

/**
 * `cloudflare:workers`, and the packages of Dormouse: those of the author's project, else those beside this one.
 *
 * @type {esbuild.Plugin}
 */
const resolvePlugin = {
  name: "dormouse",
  setup(build) {
    build.onResolve({ filter: /^cloudflare:/ }, ({ path, kind, resolveDir }) =>
      path === "cloudflare:workers"
        ? build.resolve("@dormouse/durable-objects/workers", { kind, resolveDir })
        : { errors: [{ text: `${path} is not supported: only cloudflare:workers is` }] },
    );
    build.onResolve({ filter: /^node:/ }, ({ path }) => ({
      errors: [{ text: `${path} is not supported: rooms have no modules of Node.js` }],
    }));
    build.onResolve({ filter: /^@dormouse\// }, async ({ path, kind, resolveDir, pluginData }) => {
      if (pluginData === RETRY) return undefined;
      const found = await build.resolve(path, { kind, resolveDir, pluginData: RETRY });
      return found.errors.length === 0
        ? found
        : build.resolve(path, { kind, resolveDir: import.meta.dirname, pluginData: RETRY });
    });
  },
};

const RETRY = Symbol("this plugin asks");
