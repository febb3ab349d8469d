// @ts-check
/** Three kinds of tests: the core with a fake clock, the hooks in jsdom, and all of it in a browser on the real server. */

import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

/** How long a test may take, ms. A deadline and no measure: the machine may be busy with a build. */
const testTimeout = 60_000;

export default defineConfig({
  test: {
    projects: [
      // Plain modules that keep nothing between tests: a process for each file would take longer than the tests.
      { test: { name: "core", include: ["tests/unit/**/*.test.js"], isolate: false, testTimeout } },
      {
        plugins: [react()],
        test: { name: "react", include: ["tests/react/**/*.test.tsx"], environment: "jsdom", testTimeout },
      },
      {
        test: {
          name: "browser",
          include: ["tests/browser/**/*.test.js"],
          fileParallelism: false, // two cores, and each file has a server and a browser of its own
          testTimeout: 2 * testTimeout,
          hookTimeout: 2 * testTimeout,
        },
      },
    ],
  },
});
