// @ts-check
/** The real server, with its own port and data directory. A test may kill it at any moment. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../../target", import.meta.url));
export const BINARY = process.env.DORMOUSE_BINARY ?? join(TARGET, "debug", "dormouse");

/** For HS256, as the server is configured with `auth = "jwt"`. */
export const SECRET = "a secret of at least 32 bytes, for tests only";

/** Of the admin listener, if the configuration names the file `admin.token`. */
export const ADMIN_TOKEN = "an admin token of 32 characters!".replaceAll(" ", "-");

export class Server {
  #directory = mkdtempSync(join(tmpdir(), "dormouse-browser-"));
  #config;
  #port = 0;
  /** @type {import("node:child_process").ChildProcess | undefined} */
  #child;
  #log = "";

  /** @param {string} config The rest of a configuration file. */
  constructor(config) {
    this.#config = config;
  }

  /**
   * @param {string} [config]
   * @returns {Promise<Server>}
   */
  static async start(config = '[identity]\nauth = "dev"\n') {
    const server = new Server(config);
    await server.start();
    return server;
  }

  /**
   * @param {"open" | "granted"} [access]
   * @returns {Promise<Server>} A server that accepts tokens signed with `SECRET`.
   */
  static withTokens(access = "open") {
    const keys = 'keys = [{ algorithm = "HS256", file = "secret" }]\n';
    return Server.start(`[identity]\nauth = "jwt"\naccess = "${access}"\nleeway = "0s"\n${keys}`);
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** The address of the admin listener, if the configuration has one. */
  get admin() {
    return /admin on (http:\/\/127\.0\.0\.1:\d+)/.exec(this.#log)?.[1] ?? "";
  }

  get data() {
    return join(this.#directory, "data");
  }

  get log() {
    return this.#log;
  }

  /** On the port it had before, if it had one. */
  async start() {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing; \`cargo build\` makes it`);
    writeFileSync(join(this.#directory, "secret"), SECRET);
    writeFileSync(join(this.#directory, "admin.token"), ADMIN_TOKEN);
    writeFileSync(
      join(this.#directory, "dormouse.toml"),
      `listen = "127.0.0.1:${this.#port}"\ndata = "data"\n${this.#config}`,
    );
    const child = spawn(BINARY, ["serve"], { cwd: this.#directory, stdio: ["ignore", "ignore", "pipe"] });
    this.#child = child;
    const lines = createInterface({ input: child.stderr });
    await new Promise((resolve, reject) => {
      lines.on("line", (line) => {
        this.#log += `${line}\n`;
        const ready = /ready on http:\/\/127\.0\.0\.1:(\d+)/.exec(line);
        if (ready) resolve((this.#port = Number(ready[1])));
      });
      child.once("exit", () => reject(new Error(`the server did not start:\n${this.#log}`)));
    });
  }

  /**
   * Runs a command of the binary in the directory of the server.
   *
   * @param {...string} args
   * @returns {{ ended: Promise<number | null>, stop: () => void }}
   */
  run(...args) {
    const child = spawn(BINARY, args, { cwd: this.#directory, stdio: "ignore" });
    return { ended: once(child, "exit").then(([code]) => code), stop: () => void child.kill() };
  }

  /** `kill -9`. */
  async kill() {
    await this.#end("SIGKILL");
  }

  /** SIGTERM: it closes all connections first. */
  async terminate() {
    await this.#end("SIGTERM");
  }

  /** Copies the data. The server must have ended. */
  backUp() {
    cpSync(join(this.#directory, "data"), join(this.#directory, "backup"), { recursive: true });
  }

  /** Restores the copy. The server must have ended. */
  restore() {
    rmSync(join(this.#directory, "data"), { recursive: true });
    cpSync(join(this.#directory, "backup"), join(this.#directory, "data"), { recursive: true });
  }

  async dispose() {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** @param {NodeJS.Signals} signal */
  async #end(signal) {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, "exit");
    child.kill(signal);
    await exit;
  }

  /**
   * @param {string} roomId
   * @param {string} content
   * @param {string} [user]
   */
  async post(roomId, content, user = "robot") {
    const response = await fetch(`${this.url}/api/realtime/rooms/${roomId}/messages`, {
      method: "POST",
      headers: { Authorization: `Bearer ${user}:${user}`, "Content-Type": "application/json" },
      body: JSON.stringify({ content }),
    });
    if (!response.ok) throw new Error(`the server answered ${response.status}: ${await response.text()}`);
  }

  /**
   * All that is stored in a room, oldest first.
   *
   * @param {string} roomId
   * @returns {Promise<import("../../src/protocol.js").ChatMessage[]>}
   */
  async stored(roomId) {
    /** @type {import("../../src/protocol.js").ChatMessage[]} */
    const all = [];
    for (;;) {
      const url = `${this.url}/api/realtime/rooms/${roomId}/messages?limit=500&after=${all.at(-1)?.seq ?? 0}`;
      const response = await fetch(url, { headers: { Authorization: "Bearer reader:reader" } });
      /** @type {import("../../src/protocol.js").MessagesPage} */
      const page = await response.json();
      all.push(...page.messages);
      if (!page.hasMore) return all;
    }
  }
}
