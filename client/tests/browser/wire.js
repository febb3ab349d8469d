// @ts-check
/**
 * A TCP relay between page and server, for tests to cut. It can go dead without closing connections, and can treat
 * WebSockets as some proxies do.
 */

import { once } from "node:events";
import { connect, createServer } from "node:net";

const UPGRADE = /^upgrade: *websocket\r$/im;
const STREAM = /^GET [^ ]*\/events[? ]/;
const HEAD_END = "\r\n\r\n";
const REFUSAL = `HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close${HEAD_END}`;

export class Wire {
  /**
   * The treatment of upgrades from now on. `refuse`: they are answered with 403. `swallow`: they get through, but no
   * frame after them does.
   * @type {"pass" | "refuse" | "swallow"}
   */
  upgrades = "pass";
  /** How many upgrades were requested. */
  upgradesAsked = 0;
  /** Connections with an open event stream. @type {Set<import("node:net").Socket>} */
  #streams = new Set();
  /** @type {Set<import("node:net").Socket>} */
  #ends = new Set();
  #isDead = false;
  #server;

  /** @param {string} target */
  constructor(target) {
    const { hostname, port } = new URL(target);
    this.#server = createServer((near) => {
      this.#hold(near);
      // A browser never upgrades a connection that was used for another request.
      near.once("data", (first) => {
        const isUpgrade = UPGRADE.test(first.toString("latin1"));
        if (isUpgrade) this.upgradesAsked += 1;
        if (isUpgrade && this.upgrades === "refuse") return void near.end(REFUSAL);
        const far = connect(Number(port), hostname);
        this.#hold(far);
        if (isUpgrade && this.upgrades === "swallow") {
          far.once("data", (data) => near.write(data.subarray(0, data.indexOf(HEAD_END) + HEAD_END.length)));
          far.write(first);
          near.on("close", () => far.destroy());
          return near.resume();
        }
        this.#relay(near, far);
        this.#relay(far, near);
        // A browser sends one request at a time on a connection, and each in one piece.
        near.prependListener("data", (data) => this.#notice(near, data));
        this.#notice(near, first);
        if (!this.#isDead) far.write(first);
      });
    });
  }

  /** How many event streams are open. */
  get streams() {
    return this.#streams.size;
  }

  /**
   * @param {import("node:net").Socket} near
   * @param {Buffer} data
   */
  #notice(near, data) {
    if (!STREAM.test(data.toString("latin1"))) return;
    this.#streams.add(near);
    // A browser that cancels a stream closes its connection.
    near.once("close", () => this.#streams.delete(near));
  }

  /** @param {import("node:net").Socket} end */
  #hold(end) {
    this.#ends.add(end);
    end.on("error", () => {});
    end.on("close", () => this.#ends.delete(end));
  }

  /**
   * @param {import("node:net").Socket} from
   * @param {import("node:net").Socket} to
   */
  #relay(from, to) {
    from.on("data", (data) => this.#isDead || to.write(data));
    from.on("close", () => this.#isDead || to.destroy());
  }

  /** @param {string} target */
  static async to(target) {
    const wire = new Wire(target);
    wire.#server.listen(0, "127.0.0.1");
    await once(wire.#server, "listening");
    return wire;
  }

  get url() {
    const address = this.#server.address();
    if (!address || typeof address === "string") throw new Error("the wire has no port");
    return `http://127.0.0.1:${address.port}`;
  }

  /** Like a pulled cable: nothing arrives any more, and neither side learns of it. */
  pull() {
    this.#isDead = true;
  }

  /** New connections get through again. The old ones have lost data, so they are closed. */
  plugIn() {
    for (const end of this.#ends) end.destroy();
    this.#isDead = false;
  }

  close() {
    this.plugIn();
    this.#server.close();
  }
}
