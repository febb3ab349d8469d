// @ts-check
/**
 * A WebSocket that behaves as a browser's does, without a network: the test is its server. The page's half is the
 * standard one; the server's half is `accept`, `say`, `drop` and `onSend`.
 */

export class FakeSocket {
  readyState = 0;
  bufferedAmount = 0;
  binaryType = "blob";
  /** @type {((event: {}) => void) | null} */
  onopen = null;
  /** @type {((event: { data: string | ArrayBuffer }) => void) | null} */
  onmessage = null;
  /** @type {((event: {}) => void) | null} */
  onerror = null;
  /** @type {((event: { code: number, reason: string }) => void) | null} */
  onclose = null;

  /** Everything that was sent, in order. @type {any[]} */
  sent = [];
  /** The arguments of the page's `close`. @type {{ code?: number, reason?: string } | undefined} */
  closedWith;
  /** The server's reaction to a frame. @type {(data: string) => unknown} */
  onSend = () => {};

  /**
   * @param {string | URL} url
   * @param {string | string[]} [protocols]
   */
  constructor(url, protocols = []) {
    this.url = new URL(url).href;
    this.protocols = [protocols].flat();
    if (!/^wss?:/.test(this.url)) throw new DOMException(`no address of a WebSocket: ${this.url}`, "SyntaxError");
  }

  /** @param {any} data */
  send(data) {
    if (this.readyState === 0) throw new DOMException("still connecting", "InvalidStateError");
    if (this.readyState !== 1) return;
    this.sent.push(data);
    this.onSend(data);
  }

  /**
   * @param {number} [code]
   * @param {string} [reason]
   */
  close(code, reason) {
    if (code !== undefined && code !== 1000 && (code < 3000 || code > 4999)) {
      throw new DOMException(`a page may not close with ${code}`, "InvalidAccessError");
    }
    if (new TextEncoder().encode(reason ?? "").length > 123) throw new DOMException("too long a reason", "SyntaxError");
    if (this.readyState >= 2) return;
    const hadOpened = this.readyState === 1;
    this.readyState = 2;
    this.closedWith = { code, reason };
    setTimeout(() => (hadOpened ? this.drop(code ?? 1005, reason) : this.drop()), 10);
  }

  accept() {
    this.readyState = 1;
    this.onopen?.({});
  }

  /** @param {unknown} frame Text and bytes as they are, anything else as JSON. */
  say(frame) {
    if (this.readyState !== 1) return;
    this.onmessage?.({
      data: typeof frame === "string" || frame instanceof ArrayBuffer ? frame : JSON.stringify(frame),
    });
  }

  /**
   * The end, by either side. Without a code the connection was lost, or was refused before it opened.
   *
   * @param {number} [code]
   * @param {string} [reason]
   */
  drop(code = 1006, reason = "") {
    if (this.readyState === 3) return;
    this.readyState = 3;
    if (code === 1006) {
      if (!this.onerror) throw new Error("an error without a listener");
      this.onerror({});
    }
    this.onclose?.({ code, reason });
  }

  /** The frames that were sent, without pings. */
  get frames() {
    return this.sent.map((data) => JSON.parse(data)).filter(({ type }) => type !== "ping");
  }

  get pings() {
    return this.sent.filter((data) => data === '{"type":"ping"}').length;
  }
}

/** A separate network: all sockets that were opened on it. */
export function fakeNetwork() {
  /** @type {FakeSocket[]} */
  const sockets = [];
  class DialledSocket extends FakeSocket {
    /**
     * @param {string | URL} url
     * @param {string | string[]} [protocols]
     */
    constructor(url, protocols) {
      super(url, protocols);
      sockets.push(this);
    }
  }
  return {
    sockets,
    WebSocket: /** @type {typeof WebSocket} */ (/** @type {unknown} */ (DialledSocket)),
    get last() {
      const socket = sockets.at(-1);
      if (!socket) throw new Error("nothing was dialled");
      return socket;
    },
  };
}
