import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// To the browser the page and the rooms have one origin: no CORS is needed, and the cookie works.
const proxy = { "/api/realtime": { target: process.env.DORMOUSE ?? "http://127.0.0.1:8787", ws: true } };

export default defineConfig({ plugins: [react()], server: { proxy }, preview: { proxy } });
