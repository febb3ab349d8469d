#!/usr/bin/env node
// @ts-check
/** `dormouse-bundle`: the command. */
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";

import { bundle } from "./index.js";
import { lineOf, readWrangler } from "./wrangler.js";

const USAGE = `Makes the module that \`dormouse build\` takes.

  dormouse-bundle src/room.ts -o dist/room.js                 a room of @dormouse/room, the default export
  dormouse-bundle src/chat.ts --class ChatRoom -o dist/chat.js   a Durable Object class
  dormouse-bundle src/index.ts --worker -o dist/router.js     a Worker, as the router
  dormouse-bundle wrangler.jsonc -o dist                      all of a wrangler project, a file for each binding

  --namespace BINDING=NAMESPACE   rooms in env; may be repeated
  --remember FIELD                a Map or a Set that is stored while the room sleeps; may be repeated
  --on-error keep|rollback        what becomes of a turn whose handler throws
  --identity PARAMETER=id|name    a query parameter that gets the verified user; may be repeated
  --fetch, --no-fetch             whether a class may reach servers; left out, whether its code names fetch()`;

/** Pairs of texts like `A=B`. */
const pairs = (/** @type {string[]} */ list, /** @type {string} */ option) =>
  Object.fromEntries(
    list.map((text) => {
      const [name, value = ""] = text.split("=");
      if (!name || !value) throw new Error(`--${option} ${text}: write it as NAME=VALUE`);
      return [name, value];
    }),
  );

const onErrorOf = (/** @type {string} */ text) => {
  if (text !== "keep" && text !== "rollback") throw new Error(`--on-error ${text}: write keep or rollback`);
  return text;
};

const run = async () => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      out: { type: "string", short: "o" },
      class: { type: "string" },
      worker: { type: "boolean" },
      namespace: { type: "string", multiple: true, default: [] },
      remember: { type: "string", multiple: true, default: [] },
      identity: { type: "string", multiple: true, default: [] },
      "on-error": { type: "string" },
      fetch: { type: "boolean" },
      "no-fetch": { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  const [file] = positionals;
  if (values.help) return console.log(USAGE);
  if (positionals.length !== 1 || !file || !values.out) throw new Error(`one file and -o are needed\n\n${USAGE}`);

  const namespaces = pairs(values.namespace, "namespace");
  const query = /** @type {Record<string, "id" | "name">} */ (pairs(values.identity, "identity"));
  /** @type {import("./index.js").ObjectOptions} */
  const options = {
    ...(values["on-error"] ? { onError: onErrorOf(values["on-error"]) } : {}),
    ...(values.remember.length > 0 ? { remember: values.remember } : {}),
    ...(Object.keys(query).length > 0 ? { identity: { query } } : {}),
    ...(values.fetch ? { outbound: true } : values["no-fetch"] ? { outbound: false } : {}),
  };
  if (basename(file) === "wrangler.toml") {
    throw new Error(
      `${file} is not read: write the same as wrangler.jsonc, such as { "main": "src/index.ts", "durable_objects": ` +
        '{ "bindings": [{ "name": "ROOMS", "class_name": "Room" }] } }',
    );
  }
  if (!existsSync(file))
    throw new Error(`${file} does not exist: give an entry such as src/room.ts, or a wrangler.jsonc`);
  if (/\.jsonc?$/.test(file)) return wranglerProject(file, values.out, options);
  if (values.worker) return bundle(file, { kind: "worker", namespaces }, values.out);
  if (values.class)
    return bundle(file, { kind: "object", className: values.class, namespaces, ...options }, values.out);
  return bundle(file, { kind: "room" }, values.out);
};

/**
 * @param {string} file
 * @param {string} folder
 * @param {import("./index.js").ObjectOptions} options
 */
const wranglerProject = async (file, folder, options) => {
  const text = readFileSync(file, "utf8");
  const { main, classes, vars, assets, ignored } = read(file, text);
  const source = relative(process.cwd(), resolve(dirname(file), main));
  if (!existsSync(source)) {
    throw new Error(`${file}:${lineOf(text, '"main"')}: there is no ${source}: name the file of the Worker in "main"`);
  }
  const bindings = { namespaces: Object.fromEntries(Object.keys(classes).map((name) => [name, name])), vars };
  const modules = Object.entries(classes).map(([name, className]) => {
    const namedIn = `${file}:${lineOf(text, JSON.stringify(className))}`;
    /** @type {[string, import("./index.js").Target]} */
    const module = [name, { kind: "object", className, namedIn, ...bindings, ...options }];
    return module;
  });
  const made = [...modules, /** @type {const} */ (["router", { kind: "worker", ...bindings }])].map(
    async ([name, target]) => {
      const out = join(folder, `${name}.js`);
      await bundle(source, target, out);
      return out;
    },
  );
  for (const result of await Promise.allSettled(made)) {
    if (result.status === "rejected") throw result.reason;
    console.log(`made ${result.value}`);
  }
  if (assets) console.log(`assets ${resolve(dirname(file), assets)}`);
  if (ignored.length > 0) console.error(`dormouse-bundle: ignored, without a counterpart here: ${ignored.join(", ")}`);
};

const read = (/** @type {string} */ file, /** @type {string} */ text) => {
  try {
    return readWrangler(text);
  } catch (error) {
    throw new Error(`${file}: ${/** @type {Error} */ (error).message}`);
  }
};

run().catch((error) => {
  console.error(`dormouse-bundle: ${error.message}`);
  process.exitCode = 1;
});
