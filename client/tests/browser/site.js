// @ts-check
/** Pages in Vite's development mode, with hot reload and React's StrictMode. */

import { fileURLToPath } from "node:url";
import { createServer } from "vite";

/**
 * Adds a hook to a hot-reloaded `People.tsx`, so that React remounts the component at once. Other modules only render
 * again.
 *
 * @returns {import("vite").Plugin}
 */
function oneHookMoreOnReload() {
  let loads = 0;
  return {
    name: "one-hook-more-on-reload",
    enforce: "pre",
    transform(code, id) {
      if (!/\/People\.tsx(\?|$)/.test(id)) return undefined;
      loads += 1;
      if (loads === 1) return undefined;
      return `import { useDebugValue } from "react";\n${code.replace("() {", "() {\n  useDebugValue(0);")}`;
    },
  };
}

/**
 * @param {string} folder Beside `client/package.json`.
 * @param {string} dormouse Where the server is.
 * @returns {Promise<{ url: string, vite: import("vite").ViteDevServer, close: () => Promise<void> }>}
 */
export async function serveSite(folder, dormouse) {
  process.env.DORMOUSE = dormouse;
  const root = fileURLToPath(new URL(`../../${folder}`, import.meta.url));
  const vite = await createServer({
    plugins: [oneHookMoreOnReload()],
    root,
    logLevel: "silent",
    server: { host: "127.0.0.1", port: 0 },
  });
  await vite.listen();
  const address = vite.httpServer?.address();
  if (!address || typeof address === "string") throw new Error("Vite has no port");
  return { url: `http://127.0.0.1:${address.port}`, vite, close: () => vite.close() };
}
