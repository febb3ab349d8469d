// Makes the component dist/auction.wasm of room.js and the contract.
import { mkdir, writeFile } from "node:fs/promises";

import { componentize } from "@bytecodealliance/componentize-js";

const here = (path) => new URL(path, import.meta.url).pathname;
const { component } = await componentize({
  sourcePath: here("room.js"),
  witPath: here("../../../wit"),
  worldName: "room-component",
  disableFeatures: ["http", "fetch-event"], // a room asks nobody; its clock and its randomness are those of its turn
});
await mkdir(here("dist"), { recursive: true });
await writeFile(here("dist/auction.wasm"), component);
