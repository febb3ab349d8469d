// Builds the component dist/auction.wasm from room.js and the contract.
import { mkdir, writeFile } from "node:fs/promises";

import { componentize } from "@bytecodealliance/componentize-js";

const here = (path) => new URL(path, import.meta.url).pathname;
const { component } = await componentize({
  sourcePath: here("room.js"),
  witPath: here("../../../wit"),
  worldName: "room-component",
  disableFeatures: ["http", "fetch-event"], // this room sends no requests; its clock and random numbers are the turn's
});
await mkdir(here("dist"), { recursive: true });
await writeFile(here("dist/auction.wasm"), component);
