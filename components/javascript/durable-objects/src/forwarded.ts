/**
 * The answer of a stub in a Worker, before it is known whether the Worker reads it.
 *
 * Returned as it came, or copied without a change, it names the room for the host. As soon as its status, its headers or
 * its body is read or changed, the room is called. Answers that are neither are called too, at the latest when the Worker
 * has ended, and in the order in which the Worker asked for them: a request that was sent has its effect.
 */
import type { Destination, Request as HostRequest, Response as HostResponse } from "dormouse:host";

import { responseOf } from "./rooms/calls.js";
import { unsupported } from "./unsupported.js";
import { Body, type BodyData } from "./web/body.js";
import { Headers } from "./web/headers.js";
import { Response, type ResponseInit } from "./web/response.js";
import { ReadableStream } from "./web/streams.js";

/** A request to a room that has not been sent yet. Copies of an answer share it. */
interface Pending {
  readonly destination: Destination;
  answer?: HostResponse;
  error?: { error: unknown };
}

let reply: (destination: Destination) => HostResponse;

/** Sets the way to the rooms. */
export const setReply = (given: (destination: Destination) => HostResponse): void => {
  reply = given;
};

/** Whether a request becomes a socket or a stream of events, which only the host can connect. */
export const isForConnect = ({ headers }: HostRequest): boolean => {
  const header = (name: string) => headers.find(([known]) => known === name)?.[1]?.toLowerCase();
  return header("upgrade") === "websocket" || (header("accept") ?? "").includes("text/event-stream");
};

const CONNECT =
  "the answer to an upgrade or to a request for events: a Worker returns it, and the host connects the client";

let waiting: Pending[] = [];
let isHead = false;

export class ForwardedAnswer extends Response {
  #pending!: Pending;
  #read: Response | undefined;
  #body: ReadableStream | undefined;

  constructor(destination: Destination | Pending) {
    super();
    this.#pending = "destination" in destination ? destination : { destination };
    if (!waiting.includes(this.#pending)) waiting.push(this.#pending);
  }

  /** A request begins. A HEAD has no body, so frameworks copy its answer without one. */
  static begin(head: boolean): void {
    isHead = head;
    waiting = [];
  }

  /** Calls all rooms that were asked and not called. */
  static callAll(): void {
    for (const pending of waiting.splice(0)) callOf(pending);
  }

  /** The Worker has ended: calls the rooms whose answers nobody has read. */
  static end(): void {
    for (const pending of waiting.splice(0)) {
      if (isForConnect(pending.destination.request)) continue; // a client that no one accepts
      callOf(pending);
      if (pending.error) console.error("stub.fetch(), whose answer was not read:", pending.error.error);
    }
  }

  /** The answer of `init` again, if a copy with this body does not change it. */
  static copy(body: unknown, init: unknown): ForwardedAnswer | undefined {
    if (!(init instanceof ForwardedAnswer) || init.#read) return undefined;
    const isWithoutBody = isHead && (body === null || body === undefined);
    const isItsBody = body instanceof ReadableStream && body === init.#body;
    return isItsBody || isWithoutBody ? new ForwardedAnswer(init.#pending) : undefined;
  }

  /** The room that the host asks for the answer; absent if the Worker has read or changed it. */
  unread(): Destination | undefined {
    if (this.#read || this.#pending.answer || this.#pending.error) return undefined;
    waiting = waiting.filter((pending) => pending !== this.#pending);
    ForwardedAnswer.callAll();
    return this.#pending.destination;
  }

  override get status(): number {
    return isForConnect(this.#pending.destination.request) ? 101 : this.#answer.status;
  }

  override get ok(): boolean {
    return !isForConnect(this.#pending.destination.request) && this.#answer.ok;
  }

  override get statusText(): string {
    return "";
  }

  override get webSocket(): never | null {
    if (!isForConnect(this.#pending.destination.request)) return null;
    return unsupported("the webSocket of a stub's answer", `it is ${CONNECT}`);
  }

  override get headers(): Headers {
    return this.#answer.headers;
  }

  /** Handing it to `new Response` is no reading. */
  override get body(): ReadableStream | null {
    if (this.#read) return this.#read.body;
    return (this.#body ??= new ReadableStream(
      {
        pull: async (controller) => {
          const bytes = await this.#answer.bytes();
          if (bytes.length > 0) controller.enqueue(bytes);
          controller.close();
        },
      },
      { highWaterMark: 0 },
    ));
  }

  override get bodyUsed(): boolean {
    return this.#read?.bodyUsed ?? false;
  }

  override clone(): Response {
    return this.#read ? this.#read.clone() : new ForwardedAnswer(this.#pending);
  }

  override text(): Promise<string> {
    return settled(() => this.#answer.text());
  }

  override json(): Promise<unknown> {
    return settled(() => this.#answer.json());
  }

  override bytes(): Promise<Uint8Array> {
    return settled(() => this.#answer.bytes());
  }

  override arrayBuffer(): Promise<ArrayBuffer> {
    return settled(() => this.#answer.arrayBuffer());
  }

  override formData() {
    return settled(() => this.#answer.formData());
  }

  override blob() {
    return settled(() => this.#answer.blob());
  }

  override data(): BodyData | ReadableStream {
    return Body.unread(this.#answer);
  }

  /** Calls the room, unless it was called. */
  get #answer(): Response {
    if (this.#read) return this.#read;
    const pending = this.#pending;
    if (isForConnect(pending.destination.request)) {
      unsupported("reading or changing the answer of this stub.fetch()", `it is ${CONNECT}`);
    }
    if (!pending.answer && !pending.error) {
      const earlier = waiting.splice(0, waiting.indexOf(pending) + 1);
      for (const one of earlier) callOf(one);
    }
    if (pending.error) throw pending.error.error;
    return (this.#read = responseOf(pending.answer as HostResponse));
  }
}

const settled = async <T>(read: () => Promise<T>): Promise<T> => read();

const callOf = (pending: Pending): void => {
  try {
    pending.answer = reply(pending.destination);
  } catch (error) {
    pending.error = { error };
  }
};

/** `Response` in a Worker: a copy of a stub's answer without a change is that answer. */
export class ResponseOfWorker extends Response {
  constructor(body?: unknown, init: ResponseInit = {}) {
    const copy = ForwardedAnswer.copy(body, init);
    super(copy ? null : body, copy ? {} : init);
    if (copy) return copy as unknown as ResponseOfWorker;
  }
}
