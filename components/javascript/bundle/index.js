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
 * @property {boolean} [outbound] whether it may reach servers with `fetch`; left out, whether the code names `fetch`
 *
 * @typedef {{ kind: "room" }
 *   | { kind: "object", className: string, namedIn?: string | undefined } & Bindings & ObjectOptions
 *   | { kind: "worker" } & Bindings} Target
 */

/** The name of the code that calls `serve`, in errors. */
const ENTRY = "dormouse-entry.js";

/** The code that calls `serve`. Its first import sets the globals, so the order matters. */
const entryOf = (/** @type {string} */ file, /** @type {Target} */ target) => {
  const from = JSON.stringify(file);
  switch (target.kind) {
    case "room":
      return `import { serve } from "@dormouse/room";\nimport Room from ${from};\nserve(Room);\n`;
    case "object": {
      const { kind, className, namedIn, ...options } = target;
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
  stdin: { contents: entryOf(resolve(file), target), resolveDir: dirname(resolve(file)), sourcefile: ENTRY },
  outfile: out,
  bundle: true,
  format: "esm",
  target: "es2023",
  platform: "neutral",
  mainFields: ["module", "main"],
  conditions: ["workerd", "worker"],
  external: ["dormouse:*"],
  plugins: [resolvePlugin],
  // Text, as wrangler has it.
  loader: { ".html": "text", ".txt": "text", ".sql": "text" },
  sourcemap: true,
  logLevel: "warning",
});

/**
 * Makes a bundle, with its source map beside it. Throws an error with all problems: file, line and what to do.
 *
 * @param {string} file
 * @param {Target} target
 * @param {string} out
 */
export const bundle = async (file, target, out) => {
  if (target.kind === "object") checkRemembered(file, target);
  try {
    await esbuild
      .build({ ...buildOptions(file, withOutbound(file, target), out), logLevel: "silent" })
      .then(({ warnings }) => {
        if (warnings.length > 0) console.error(shown(warnings, "warning"));
      });
  } catch (error) {
    const { errors } = /** @type {Partial<esbuild.BuildFailure>} */ (error);
    if (!errors) throw error;
    const [missing] = errors.filter(isOfOwnEntry);
    if (missing) throw new Error(await missingExport(file, target));
    throw new Error(`${file} cannot be bundled:\n${shown(errors, "error")}`);
  }
};

const shown = (/** @type {esbuild.Message[]} */ messages, /** @type {"error" | "warning"} */ kind) =>
  esbuild
    .formatMessagesSync(messages.slice(0, 20).map(withOurAdvice), { kind, color: false, terminalWidth: 120 })
    .join("")
    .trim();

/** What esbuild says of a module of Node.js: it advises another platform, and no platform of a room has it. */
const NODE = "is built into node";

const noteOf = (/** @type {string} */ text) => ({ text, location: null });

const NO_NODE = noteOf(
  "It is a part of Node.js. A room has neither files nor a network of its own: use what the contract offers, or a " +
    "package that needs no Node.js.",
);

const OWN_PACKAGE = noteOf(
  "Install this package with `npm install --save-dev`. One from Dormouse's source must be built there first, with " +
    "`npm ci && npm run build` in components/javascript.",
);

/** Our advice in place of that of esbuild, which does not know what a room is. */
const withOurAdvice = (/** @type {esbuild.Message} */ message) => ({
  ...message,
  ...(message.text.startsWith('Could not resolve "@dormouse/') ? { notes: [OWN_PACKAGE] } : {}),
  ...(message.notes.some(({ text }) => text.includes(NODE)) ? { notes: [NO_NODE] } : {}),
});

/** The author's module lacks what our own few lines import from it. */
const isOfOwnEntry = (/** @type {esbuild.Message} */ { location, text }) =>
  location?.file.endsWith(ENTRY) && text.startsWith("No matching export");

/** The advice for a class, a room or a Worker that the author's module does not export. */
const missingExport = async (/** @type {string} */ file, /** @type {Target} */ target) => {
  const { metafile } = await esbuild.build({
    entryPoints: [file],
    bundle: true,
    write: false,
    outdir: ".",
    format: "esm",
    metafile: true,
    external: ["*"],
    logLevel: "silent",
  });
  const names = Object.values(metafile.outputs).flatMap(({ exports }) => exports);
  const found = names.length === 0 ? "it exports nothing" : `it exports ${names.join(", ")}`;
  switch (target.kind) {
    case "object":
      return (
        `${file}:1: there is no class ${target.className}, and ${found}: write \`export class ${target.className} ` +
        `extends DurableObject { … }\`, or name another class${target.namedIn ? ` in ${target.namedIn}` : ""}`
      );
    case "room":
      return `${file}:1: there is no default export, and ${found}: write \`export default class extends Room { … }\``;
    case "worker":
      return (
        `${file}:1: there is no default export, which is the Worker, and ${found}: write ` +
        "`export default { fetch(request, env) { … } }`"
      );
  }
};

/**
 * A field to remember is in the source of the class, or in a package: a misspelt one would silently remember nothing.
 *
 * @param {string} file
 * @param {{ className: string } & ObjectOptions} target
 */
const checkRemembered = (file, { className, remember = [] }) => {
  if (remember.length === 0) return;
  const source = bundledAlone({ entryPoints: [file] });
  if (source === undefined) return;
  for (const field of remember) {
    const isName = /^[A-Za-z_$][\w$]*$/.test(field);
    if (!isName || !new RegExp(`(?<![\\w$])${field.replaceAll("$", "\\$")}(?![\\w$])`).test(source)) {
      throw new Error(
        `${file}:1: ${className} has no field ${field} to remember: name a field with a Map or a Set, such as sessions`,
      );
    }
  }
};

/** A name that no author has. */
const FETCH = "__dormouse_fetch";

/**
 * A class whose code names the global `fetch` may reach servers. esbuild tells: it replaces the global and nothing else,
 * such as a method of that name.
 *
 * @param {string} file
 * @param {Target} target
 * @returns {Target}
 */
const withOutbound = (file, target) => {
  if (target.kind !== "object" || target.outbound !== undefined) return target;
  const stdin = {
    contents: `export { ${target.className} } from ${JSON.stringify(resolve(file))};`,
    resolveDir: dirname(resolve(file)),
  };
  const define = { fetch: FETCH, "globalThis.fetch": FETCH, "self.fetch": FETCH };
  const source = bundledAlone({ stdin, define });
  return { ...target, outbound: source?.includes(FETCH) ?? false };
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
      errors: [{ text: `${path} is not supported: rooms have no modules of Node.js`, notes: [NO_NODE] }],
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

/** The code of a file and of what it imports, without our own; `undefined` if it cannot be bundled, which is said later. */
const bundledAlone = (/** @type {esbuild.BuildOptions} */ options) => {
  try {
    const { outputFiles } = esbuild.buildSync({
      ...options,
      bundle: true,
      write: false,
      format: "esm",
      external: ["cloudflare:*", "dormouse:*", "node:*", "@dormouse/*"],
      loader: { ".html": "empty", ".txt": "empty", ".sql": "empty" },
      legalComments: "none",
      logLevel: "silent",
    });
    return outputFiles.map(({ text }) => text).join("");
  } catch {
    return undefined;
  }
};

const RETRY = Symbol("this plugin asks");
