// @ts-check
/** The wire between page and server, for tests to cut: a TCP relay that can go dead without telling anybody. */

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Wire {
  /** @type {Set<import("node:net").Socket>} */
  #ends = new Set();
  #isDead = false;
  #server;

  /** @param {string} target */
  constructor(target) {
    const { hostname, port } = new URL(target);
    this.#server = createServer((near) => {
      const far = connect(Number(port), hostname);
      this.#relay(near, far);
      this.#relay(far, near);
    });
  }

  /**
   * @param {import("node:net").Socket} from
   * @param {import("node:net").Socket} to
   */
  #relay(from, to) {
    this.#ends.add(from);
    from.on("data", (data) => this.#isDead || to.write(data));
    from.on("error", () => {});
    from.on("close", () => {
      this.#ends.delete(from);
      if (!this.#isDead) to.destroy();
    });
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

  /** A pulled cable: nothing arrives any more, and nobody hears of it. */
  pull() {
    this.#isDead = true;
  }

  /** New connections get through again; the old ones have lost what was on its way, so they are gone. */
  plugIn() {
    for (const end of this.#ends) end.destroy();
    this.#isDead = false;
  }

  close() {
    this.plugIn();
    this.#server.close();
  }
}
