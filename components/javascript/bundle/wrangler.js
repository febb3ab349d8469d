// @ts-check
/** Reads a wrangler configuration: its Durable Objects become namespaces, its Worker becomes the router. */

/**
 * @typedef {object} Project
 * @property {string} main the Worker, relative to the configuration
 * @property {Record<string, string>} classes the class of each binding
 * @property {Record<string, unknown>} vars
 * @property {string | undefined} assets the folder of static files, relative to the configuration
 * @property {string[]} ignored what has no counterpart here
 */

/** Keys that mean something here, or nothing anywhere but at Cloudflare's. */
const KNOWN = [
  "$schema",
  "name",
  "main",
  "vars",
  "assets",
  "durable_objects",
  "migrations",
  "compatibility_date",
  "compatibility_flags",
  "observability",
  "dev",
];

/**
 * @param {string} text JSON with comments
 * @returns {Project}
 */
export const readWrangler = (text) => {
  const config = parse(text);
  if (typeof config.main !== "string") {
    throw new Error('the wrangler configuration has no "main": name the Worker, such as "main": "src/index.ts"');
  }
  /** @type {Record<string, string>} */
  const classes = {};
  for (const { name, class_name: className, script_name: script } of config.durable_objects?.bindings ?? []) {
    if (script !== undefined)
      throw new Error(`the binding ${name} is of another script, ${script}: build that one too`);
    classes[name] = className;
  }
  const assets = config.assets?.directory;
  const ignored = Object.keys(config).filter((key) => !KNOWN.includes(key));
  return { main: config.main, classes, vars: config.vars ?? {}, assets, ignored };
};

/** The line of a text in a configuration, from 1 on; absent if it is not there. */
export const lineOf = (/** @type {string} */ text, /** @type {string} */ part) => {
  const at = text.indexOf(part);
  return at < 0 ? undefined : text.slice(0, at).split("\n").length;
};

const parse = (/** @type {string} */ text) => {
  const json = withoutComments(text);
  try {
    return JSON.parse(json);
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    const at = /position (\d+)/.exec(message)?.[1];
    const place = at === undefined ? "" : `line ${json.slice(0, Number(at)).split("\n").length}: `;
    throw new Error(`${place}it is no JSON: ${message.replace(/,? ?(in JSON )?at position .*/, "")}`);
  }
};

/** JSON without comments and without commas before a closing bracket. */
const withoutComments = (/** @type {string} */ text) =>
  text
    .replace(/("(?:[^"\\]|\\.)*")|\/\/[^\n]*|\/\*[^]*?\*\//g, (all, string) => string ?? all.replace(/[^\n]/g, " "))
    .replace(/("(?:[^"\\]|\\.)*")|,(\s*[\]}])/g, (_, string, end) => string ?? end);
