// @ts-check
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const proxy = { "/api/realtime": { target: process.env.DORMOUSE, ws: true } };

export default defineConfig({ plugins: [react()], server: { proxy }, cacheDir: "node_modules/.vite-pages" });
