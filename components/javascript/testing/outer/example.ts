/** A room of the examples, in memory or in the engine. */
import { fileURLToPath } from "node:url";

import { engineRoom, isEngine } from "./engine.js";
import { Instance } from "./instance.js";
import { TestRoom } from "./test-room.js";

export const exampleRoom = (name: string): TestRoom => {
  if (isEngine) return engineRoom(name);
  const bundle = fileURLToPath(new URL(`../realm/${name}.js`, import.meta.url));
  return new TestRoom((world) => new Instance(world, bundle, ""));
};
