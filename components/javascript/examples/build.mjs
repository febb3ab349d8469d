// @ts-check
/** The example rooms that tests run, as `dormouse-bundle` makes them, but for the realm of a test. */
import { fileURLToPath } from "node:url";

import { buildOptions } from "../bundle/index.js";

const path = (/** @type {string} */ file) => fileURLToPath(new URL(file, import.meta.url));
const DURABLE_OBJECTS = "../../examples/durable-objects/src";

/**
 * The script of each room, and what is in it.
 *
 * @type {Record<string, [string, import("../bundle/index.js").Target]>}
 */
const ROOMS = {
  "chat-room": [`${DURABLE_OBJECTS}/chat-room.ts`, { kind: "object", className: "ChatRoom" }],
  template: ["../../../host/templates/room-typescript/room.ts", { kind: "room" }],
  presence: [`${DURABLE_OBJECTS}/presence.ts`, { kind: "object", className: "Presence" }],
};

/** The options of esbuild for each room. */
export const examples = (/** @type {string} */ folder) =>
  Object.entries(ROOMS).map(([name, [file, target]]) => {
    const { external, ...options } = buildOptions(path(file), target, `${folder}/${name}.js`);
    return {
      ...options,
      /** @type {"iife"} */
      format: "iife",
      inject: [path("../testing/realm/environment.ts")],
      alias: { "dormouse:host": path("../testing/realm/host.ts") },
    };
  });
