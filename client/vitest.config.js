// @ts-check
/** Three kinds of tests: the core with a fake clock, the hooks in jsdom, everything in Chromium with a real server. */

import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

/** The longest time for a test, ms. It only ends hanging tests: the machine may be busy with a build. */
const testTimeout = 60_000;

export default defineConfig({
  test: {
    projects: [
      // Plain modules without state between tests: a process for each file would take longer than the tests.
      { test: { name: "core", include: ["tests/unit/**/*.test.js"], isolate: false, testTimeout } },
      {
        plugins: [react()],
        test: { name: "react", include: ["tests/react/**/*.test.tsx"], environment: "jsdom", testTimeout },
      },
      {
        test: {
          name: "browser",
          include: ["tests/browser/**/*.test.js"],
          fileParallelism: false, // each file starts a server and a browser, and CI has two cores
          testTimeout: 2 * testTimeout,
          hookTimeout: 2 * testTimeout,
        },
      },
    ],
  },
});
