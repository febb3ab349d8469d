// @ts-check
/** Reads a wrangler configuration: its Durable Objects become namespaces, its Worker becomes the router. */

/**
 * @typedef {object} Project
 * @property {string} main the Worker, relative to the configuration
 * @property {Record<string, string>} classes the class of each binding
 * @property {Record<string, unknown>} vars
 * @property {string[]} ignored what has no counterpart here
 */

/** Keys that mean something here, or nothing anywhere but at Cloudflare's. */
const KNOWN = [
  "$schema",
  "name",
  "main",
  "vars",
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
  const config = JSON.parse(withoutComments(text));
  if (typeof config.main !== "string") throw new Error('the wrangler configuration has no "main"');
  /** @type {Record<string, string>} */
  const classes = {};
  for (const { name, class_name: className, script_name: script } of config.durable_objects?.bindings ?? []) {
    if (script !== undefined)
      throw new Error(`the binding ${name} is of another script, ${script}: build that one too`);
    classes[name] = className;
  }
  const ignored = Object.keys(config).filter((key) => !KNOWN.includes(key));
  return { main: config.main, classes, vars: config.vars ?? {}, ignored };
};

/** JSON without comments and without commas before a closing bracket. */
const withoutComments = (/** @type {string} */ text) =>
  text
    .replace(/("(?:[^"\\]|\\.)*")|\/\/[^\n]*|\/\*[^]*?\*\//g, (_, string) => string ?? " ")
    .replace(/("(?:[^"\\]|\\.)*")|,(\s*[\]}])/g, (_, string, end) => string ?? end);
