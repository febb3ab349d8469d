// @ts-check
/** The binary embeds uPlot, and its build needs no npm: the files are copies. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const COPIES = fileURLToPath(new URL("../../../host/web/dashboard/vendor/", import.meta.url));
const PACKAGE = join(dirname(createRequire(import.meta.url).resolve("uplot")), "..");

for (const [copy, original] of [
  ["uPlot.iife.min.js", "dist/uPlot.iife.min.js"],
  ["uPlot.min.css", "dist/uPlot.min.css"],
  ["uPlot.LICENSE", "LICENSE"],
]) {
  test(`${copy} is that of the package`, () => {
    expect(readFileSync(join(COPIES, copy ?? ""), "utf8")).toBe(readFileSync(join(PACKAGE, original ?? ""), "utf8"));
  });
}
