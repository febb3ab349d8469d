// @ts-check
/** Pages made with Vite, as a web developer has them: in development, with hot reload and React's StrictMode. */

import { fileURLToPath } from "node:url";
import { createServer } from "vite";

/**
 * @param {string} folder Beside `client/package.json`.
 * @param {string} dormouse Where the server is.
 * @returns {Promise<{ url: string, vite: import("vite").ViteDevServer, close: () => Promise<void> }>}
 */
export async function serveSite(folder, dormouse) {
  process.env.DORMOUSE = dormouse;
  const root = fileURLToPath(new URL(`../../${folder}`, import.meta.url));
  const vite = await createServer({ root, logLevel: "silent", server: { host: "127.0.0.1", port: 0 } });
  await vite.listen();
  const address = vite.httpServer?.address();
  if (!address || typeof address === "string") throw new Error("Vite has no port");
  return { url: `http://127.0.0.1:${address.port}`, vite, close: () => vite.close() };
}
