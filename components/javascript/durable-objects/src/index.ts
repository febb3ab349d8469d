/** `@dormouse/durable-objects`: what the entry of a bundle calls. Its import comes first: it sets the globals. */
import "./globals.js";

export type { Bindings } from "./env.js";
export type { Identity } from "./identity.js";
export { type Options, serve } from "./object.js";
export { UnsupportedError } from "./unsupported.js";
export { serveWorker } from "./worker.js";
