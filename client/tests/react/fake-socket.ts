/**
 * A WebSocket that behaves as a browser's does, without a network: the test is its server. The page's half is the
 * standard interface; the server's half is `accept`, `receive` and `drop`. React has rendered when they return.
 */

import { act } from "react";

export class FakeSocket {
  /** All sockets that were ever opened, in order. */
  static readonly all: FakeSocket[] = [];

  static get last(): FakeSocket {
    const last = FakeSocket.all.at(-1);
    if (!last) throw new Error("nothing was dialled");
    return last;
  }

  /** Those that the page has not closed and the server has not dropped. */
  static get living(): FakeSocket[] {
    return FakeSocket.all.filter(({ readyState }) => readyState < 2);
  }

  readonly url: string;
  readonly protocols: string[];
  readyState = 0;
  bufferedAmount = 0;
  binaryType = "blob";
  onopen: ((event: object) => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onerror: ((event: object) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  /** Everything that was sent, in order. */
  readonly sent: unknown[] = [];
  /** The arguments of the page's `close`. */
  closedWith: { code: number | undefined; reason: string | undefined } | undefined;

  constructor(url: string | URL, protocols: string | string[] = []) {
    this.url = new URL(url).href;
    this.protocols = [protocols].flat();
    if (!/^wss?:/.test(this.url)) throw new DOMException(`no address of a WebSocket: ${this.url}`, "SyntaxError");
    FakeSocket.all.push(this);
  }

  get path(): string {
    const { pathname, search } = new URL(this.url);
    return pathname + search;
  }

  /** The frames that were sent, without pings. */
  get frames(): any[] {
    return this.sent.map((data) => JSON.parse(String(data))).filter(({ type }) => type !== "ping");
  }

  send(data: unknown): void {
    if (this.readyState === 0) throw new DOMException("still connecting", "InvalidStateError");
    if (this.readyState === 1) this.sent.push(data);
  }

  close(code?: number, reason?: string): void {
    if (this.readyState >= 2) return;
    const wasOpen = this.readyState === 1;
    this.readyState = 2;
    this.closedWith = { code, reason };
    setTimeout(() => (wasOpen ? this.drop(code ?? 1005, reason) : this.drop()), 10);
  }

  accept(): void {
    if (this.readyState !== 0) throw new Error("the page does not wait for this connection");
    this.readyState = 1;
    act(() => this.onopen?.({}));
  }

  /** Text and bytes as they are, anything else as JSON. */
  receive(frame: unknown): void {
    if (this.readyState !== 1) return;
    const data = typeof frame === "string" || frame instanceof ArrayBuffer ? frame : JSON.stringify(frame);
    act(() => this.onmessage?.({ data }));
  }

  /** The end, by either side. Without a code the connection was lost, or was refused before it opened. */
  drop(code = 1006, reason = ""): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    act(() => {
      if (code === 1006) this.onerror?.({});
      this.onclose?.({ code, reason });
    });
  }
}
