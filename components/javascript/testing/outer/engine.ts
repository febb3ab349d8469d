/** Whether the tests run in the real engine: `npm test -- --engine` sets the folder of its components. */
import { join } from "node:path";

import { EngineRoom } from "./engine-room.js";
import type { TestRoom } from "./test-room.js";

const folder = process.env["DORMOUSE_TEST_COMPONENTS"];

export const isEngine = folder !== undefined;

/** A reason to skip a test that looks into the memory host. */
export const onlyInMemory = isEngine ? { skip: "only with the host in memory" } : {};

/** A room of a component that `test.mjs` has built. */
export const engineRoom = (component: string, source?: string, options?: object): TestRoom =>
  new EngineRoom(join(folder as string, `${component}.wasm`), source, options) as unknown as TestRoom;
