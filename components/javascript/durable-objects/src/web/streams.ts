/**
 * `ReadableStream`, `WritableStream` and `TransformStream`: the part that Workers use to make, change and read bodies. Bodies
 * of the host are whole, so a stream moves within one turn.
 *
 * Left out: readers with buffers of their own (BYOB), and sizes of chunks. A writer is always ready, because a turn cannot
 * wait for a client to read.
 */
import { unsupported } from "../unsupported.js";

interface Source<T> {
  start?(controller: ReadableStreamDefaultController<T>): unknown;
  pull?(controller: ReadableStreamDefaultController<T>): unknown;
  cancel?(reason: unknown): unknown;
  type?: string;
}

interface Strategy {
  highWaterMark?: number;
}

type Result<T> = { done: false; value: T } | { done: true; value: undefined };

interface Waiting<T> {
  resolve(result: Result<T>): void;
  reject(error: unknown): void;
}

interface PipeOptions {
  preventClose?: boolean;
  preventAbort?: boolean;
  preventCancel?: boolean;
}

/** A promise that is settled from outside. A rejection that nobody asks for is no error. */
class Deferred<T = void> {
  resolve!: (value: T) => void;
  reject!: (error: unknown) => void;
  readonly promise = new Promise<T>((resolve, reject) => {
    this.resolve = resolve;
    this.reject = reject;
  });

  constructor() {
    this.promise.catch(() => {});
  }
}

export class ReadableStreamDefaultController<T = any> {
  readonly #stream: ReadableStream<T>;

  constructor(stream: ReadableStream<T>) {
    this.#stream = stream;
  }

  get desiredSize(): number | null {
    return this.#stream[inner].desiredSize();
  }

  get byobRequest(): null {
    return null;
  }

  enqueue(chunk: T): void {
    this.#stream[inner].enqueue(chunk);
  }

  close(): void {
    this.#stream[inner].close();
  }

  error(reason?: unknown): void {
    this.#stream[inner].fail(reason);
  }
}

const inner = Symbol("inner");

/** The state of a readable stream. */
class Inner<T> {
  readonly queue: T[] = [];
  readonly waiting: Waiting<T>[] = [];
  readonly closed = new Deferred();
  readonly controller: ReadableStreamDefaultController<T>;
  readonly #source: Source<T>;
  readonly #highWaterMark: number;
  state: "readable" | "closed" | "errored" = "readable";
  error: unknown;
  reader: ReadableStreamDefaultReader<T> | undefined;
  /** A body that is there as a whole, and not read yet. */
  whole: string | Uint8Array | undefined;
  isDisturbed = false;
  #isClosing = false;
  #isStarted = false;
  #isPulling = false;
  #pullsAgain = false;

  constructor(stream: ReadableStream<T>, source: Source<T>, highWaterMark: number) {
    this.controller = new ReadableStreamDefaultController(stream);
    this.#source = source;
    this.#highWaterMark = highWaterMark;
  }

  /** Called when the stream has this state: the source may use it at once. */
  start(): void {
    const started = this.#source.start?.(this.controller);
    Promise.resolve(started).then(
      () => {
        this.#isStarted = true;
        this.pull();
      },
      (error: unknown) => this.fail(error),
    );
  }

  desiredSize(): number | null {
    if (this.state === "errored") return null;
    return this.state === "closed" ? 0 : this.#highWaterMark - this.queue.length;
  }

  enqueue(chunk: T): void {
    if (this.state !== "readable" || this.#isClosing)
      throw new TypeError("The stream is closed: nothing can be added.");
    const first = this.waiting.shift();
    if (first) first.resolve({ done: false, value: chunk });
    else this.queue.push(chunk);
    this.pull();
  }

  close(): void {
    if (this.state !== "readable" || this.#isClosing) throw new TypeError("The stream is closed already.");
    this.#isClosing = true;
    this.#finish();
  }

  fail(error: unknown): void {
    if (this.state !== "readable") return;
    this.state = "errored";
    this.error = error;
    this.queue.length = 0;
    for (const { reject } of this.waiting.splice(0)) reject(error);
    this.closed.reject(error);
  }

  read(): Promise<Result<T>> {
    this.isDisturbed = true;
    if (this.state === "errored") return Promise.reject(this.error);
    if (this.queue.length > 0) {
      const value = this.queue.shift() as T;
      this.#finish();
      this.pull();
      return Promise.resolve({ done: false, value });
    }
    if (this.state === "closed") return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
      this.pull();
    });
  }

  async cancel(reason: unknown): Promise<void> {
    this.isDisturbed = true;
    if (this.state === "errored") throw this.error;
    if (this.state === "closed") return;
    this.queue.length = 0;
    this.#isClosing = true;
    this.#finish();
    await this.#source.cancel?.(reason);
  }

  pull(): void {
    const wants = this.waiting.length > 0 || this.queue.length < this.#highWaterMark;
    if (!this.#isStarted || this.state !== "readable" || this.#isClosing || !wants || !this.#source.pull) return;
    if (this.#isPulling) {
      this.#pullsAgain = true;
      return;
    }
    this.#isPulling = true;
    (async () => this.#source.pull?.(this.controller))().then(
      () => {
        this.#isPulling = false;
        if (!this.#pullsAgain) return;
        this.#pullsAgain = false;
        this.pull();
      },
      (error: unknown) => this.fail(error),
    );
  }

  /** Closed by its source, and read to its end. */
  #finish(): void {
    if (!this.#isClosing || this.queue.length > 0 || this.state !== "readable") return;
    this.state = "closed";
    for (const { resolve } of this.waiting.splice(0)) resolve({ done: true, value: undefined });
    this.closed.resolve();
  }
}

export class ReadableStreamDefaultReader<T = any> {
  #stream: ReadableStream<T> | undefined;

  constructor(stream: ReadableStream<T>) {
    if (stream.locked) throw new TypeError("This ReadableStream is currently locked to a reader.");
    this.#stream = stream;
    stream[inner].reader = this;
  }

  get closed(): Promise<void> {
    return this.#stream
      ? this.#stream[inner].closed.promise
      : Promise.reject(new TypeError("The reader was released."));
  }

  async read(): Promise<Result<T>> {
    return this.#of().read();
  }

  async cancel(reason?: unknown): Promise<void> {
    return this.#of().cancel(reason);
  }

  releaseLock(): void {
    if (!this.#stream) return;
    const { waiting } = this.#stream[inner];
    for (const { reject } of waiting.splice(0)) reject(new TypeError("The reader was released."));
    this.#stream[inner].reader = undefined;
    this.#stream = undefined;
  }

  #of(): Inner<T> {
    if (!this.#stream) throw new TypeError("The reader was released.");
    return this.#stream[inner];
  }
}

export class ReadableStream<T = any> {
  readonly [inner]: Inner<T>;

  constructor(source: Source<T> = {}, { highWaterMark = 1 }: Strategy = {}) {
    this[inner] = new Inner<T>(this, source, highWaterMark);
    this[inner].start();
  }

  static from<T>(items: Iterable<T> | AsyncIterable<T>): ReadableStream<T> {
    const iterator =
      (items as AsyncIterable<T>)[Symbol.asyncIterator]?.() ?? (items as Iterable<T>)[Symbol.iterator]?.();
    if (!iterator) throw new TypeError("ReadableStream.from(): the argument cannot be iterated");
    const pull = async (controller: ReadableStreamDefaultController<T>): Promise<void> => {
      const { done, value } = await iterator.next();
      if (done) controller.close();
      else controller.enqueue(value);
    };
    return new ReadableStream<T>(
      { pull, cancel: async (reason) => void (await iterator.return?.(reason)) },
      { highWaterMark: 0 },
    );
  }

  get locked(): boolean {
    return this[inner].reader !== undefined;
  }

  getReader(options: { mode?: string } = {}): ReadableStreamDefaultReader<T> {
    if (options?.mode === "byob") unsupported('getReader({ mode: "byob" })', "use getReader()");
    return new ReadableStreamDefaultReader(this);
  }

  async cancel(reason?: unknown): Promise<void> {
    if (this.locked) throw new TypeError("This ReadableStream is currently locked to a reader.");
    return this[inner].cancel(reason);
  }

  async pipeTo(target: WritableStream<T>, options: PipeOptions = {}): Promise<void> {
    const reader = this.getReader();
    const writer = target.getWriter();
    try {
      for (;;) {
        let result: Result<T>;
        try {
          result = await reader.read();
        } catch (error) {
          if (!options.preventAbort) await writer.abort(error);
          throw error;
        }
        if (result.done) break;
        try {
          await writer.write(result.value);
        } catch (error) {
          if (!options.preventCancel) await reader.cancel(error);
          throw error;
        }
      }
      if (!options.preventClose) await writer.close();
    } finally {
      reader.releaseLock();
      writer.releaseLock();
    }
  }

  pipeThrough<U>(
    { readable, writable }: { readable: ReadableStream<U>; writable: WritableStream<T> },
    options?: PipeOptions,
  ): ReadableStream<U> {
    this.pipeTo(writable, options).catch(() => {}); // the readable side has the error
    return readable;
  }

  tee(): [ReadableStream<T>, ReadableStream<T>] {
    const reader = this.getReader();
    const controllers: ReadableStreamDefaultController<T>[] = [];
    const left = [true, true];
    let isReading = false;
    const pull = async (): Promise<void> => {
      if (isReading) return;
      isReading = true;
      try {
        const { done, value } = await reader.read();
        controllers.forEach((controller, at) => {
          if (!left[at]) return;
          if (done) controller.close();
          else controller.enqueue(value);
        });
      } catch (error) {
        controllers.forEach((controller) => controller.error(error));
      }
      isReading = false;
    };
    const branch = (at: number) =>
      new ReadableStream<T>(
        {
          start: (controller) => void (controllers[at] = controller),
          pull,
          cancel: async (reason) => {
            left[at] = false;
            if (!left.includes(true)) await reader.cancel(reason);
          },
        },
        { highWaterMark: 0 },
      );
    return [branch(0), branch(1)];
  }

  async *values(options: { preventCancel?: boolean } = {}): AsyncGenerator<T, void> {
    const reader = this.getReader();
    let isDone = false;
    try {
      for (;;) {
        const result = await reader.read();
        isDone = result.done;
        if (result.done) return;
        yield result.value;
      }
    } finally {
      if (!isDone && !options.preventCancel) await reader.cancel();
      reader.releaseLock();
    }
  }

  [Symbol.asyncIterator](options?: { preventCancel?: boolean }): AsyncGenerator<T, void> {
    return this.values(options);
  }

  get [Symbol.toStringTag](): string {
    return "ReadableStream";
  }
}

/** A body that is there as a whole. `bytesOf` gives its bytes when it is read as a stream. */
export const streamOf = (data: string | Uint8Array, bytesOf: (data: string | Uint8Array) => Uint8Array) => {
  const stream = new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        if (data.length > 0) controller.enqueue(bytesOf(data));
        controller.close();
      },
    },
    { highWaterMark: 0 },
  );
  stream[inner].whole = data;
  return stream;
};

/** The whole body behind a stream that nobody has read. */
export const wholeOf = (stream: ReadableStream): string | Uint8Array | undefined =>
  stream.locked || stream[inner].isDisturbed ? undefined : stream[inner].whole;

export const isDisturbed = (stream: ReadableStream): boolean => stream[inner].isDisturbed;

interface Sink<T> {
  start?(controller: WritableStreamDefaultController): unknown;
  write?(chunk: T, controller: WritableStreamDefaultController): unknown;
  close?(): unknown;
  abort?(reason: unknown): unknown;
}

export class WritableStreamDefaultController {
  readonly #fail: (error: unknown) => void;

  constructor(fail: (error: unknown) => void) {
    this.#fail = fail;
  }

  error(reason?: unknown): void {
    this.#fail(reason);
  }
}

export class WritableStream<T = any> {
  readonly #sink: Sink<T>;
  readonly #controller = new WritableStreamDefaultController((error) => this.#fail(error));
  readonly closed = new Deferred();
  #last: Promise<unknown>;
  #failure: { error: unknown } | undefined;
  #isClosing = false;
  writer: WritableStreamDefaultWriter<T> | undefined;

  constructor(sink: Sink<T> = {}, _strategy?: Strategy) {
    this.#sink = sink;
    const started = sink.start?.(this.#controller);
    this.#last = Promise.resolve(started).catch((error: unknown) => this.#fail(error));
    // Only this file uses these two, so nobody sees them among the properties of a stream.
    for (const name of ["closed", "writer"]) Object.defineProperty(this, name, { enumerable: false, writable: true });
  }

  get locked(): boolean {
    return this.writer !== undefined;
  }

  getWriter(): WritableStreamDefaultWriter<T> {
    return new WritableStreamDefaultWriter(this);
  }

  async abort(reason?: unknown): Promise<void> {
    if (this.locked) throw new TypeError("This WritableStream is currently locked to a writer.");
    return WritableStream.abort(this, reason);
  }

  async close(): Promise<void> {
    if (this.locked) throw new TypeError("This WritableStream is currently locked to a writer.");
    return WritableStream.close(this);
  }

  static write<T>(stream: WritableStream<T>, chunk: T): Promise<void> {
    if (stream.#isClosing) return Promise.reject(new TypeError("This WritableStream has been closed."));
    return stream.#then(() => stream.#sink.write?.(chunk, stream.#controller));
  }

  static close(stream: WritableStream): Promise<void> {
    if (stream.#isClosing) return Promise.reject(new TypeError("This WritableStream has been closed."));
    stream.#isClosing = true;
    return stream.#then(async () => {
      await stream.#sink.close?.();
      stream.closed.resolve();
    });
  }

  static async abort(stream: WritableStream, reason: unknown): Promise<void> {
    if (stream.#failure || stream.#isClosing) return;
    stream.#fail(reason);
    await stream.#sink.abort?.(reason);
  }

  /** One call of the sink after the other. */
  #then(call: () => unknown): Promise<void> {
    const done = this.#last.then(async () => {
      if (this.#failure) throw this.#failure.error;
      try {
        await call();
      } catch (error) {
        this.#fail(error);
        throw error;
      }
    });
    this.#last = done.catch(() => {});
    return done;
  }

  #fail(error: unknown): void {
    if (this.#failure) return;
    this.#failure = { error };
    this.closed.reject(error);
  }

  get [Symbol.toStringTag](): string {
    return "WritableStream";
  }
}

export class WritableStreamDefaultWriter<T = any> {
  #stream: WritableStream<T> | undefined;
  readonly #closed: Promise<void>;

  constructor(stream: WritableStream<T>) {
    if (stream.locked) throw new TypeError("This WritableStream is currently locked to a writer.");
    this.#stream = stream;
    this.#closed = stream.closed.promise;
    stream.writer = this;
  }

  get ready(): Promise<void> {
    return Promise.resolve();
  }

  get closed(): Promise<void> {
    return this.#closed;
  }

  get desiredSize(): number {
    return 1;
  }

  async write(chunk?: T): Promise<void> {
    return WritableStream.write(this.#of(), chunk as T);
  }

  async close(): Promise<void> {
    return WritableStream.close(this.#of());
  }

  async abort(reason?: unknown): Promise<void> {
    return WritableStream.abort(this.#of(), reason);
  }

  releaseLock(): void {
    if (this.#stream) this.#stream.writer = undefined;
    this.#stream = undefined;
  }

  #of(): WritableStream<T> {
    if (!this.#stream) throw new TypeError("The writer was released.");
    return this.#stream;
  }
}

interface Transformer<I, O> {
  start?(controller: TransformStreamDefaultController<O>): unknown;
  transform?(chunk: I, controller: TransformStreamDefaultController<O>): unknown;
  flush?(controller: TransformStreamDefaultController<O>): unknown;
}

export class TransformStreamDefaultController<O = any> {
  readonly #controller: ReadableStreamDefaultController<O>;
  #isTerminated = false;

  constructor(controller: ReadableStreamDefaultController<O>) {
    this.#controller = controller;
  }

  get desiredSize(): number | null {
    return this.#controller.desiredSize;
  }

  enqueue(chunk: O): void {
    this.#controller.enqueue(chunk);
  }

  error(reason?: unknown): void {
    this.#controller.error(reason);
  }

  terminate(): void {
    if (this.#isTerminated) return;
    this.#isTerminated = true;
    this.#controller.close();
  }

  static isTerminated(controller: TransformStreamDefaultController): boolean {
    return controller.#isTerminated;
  }
}

export class TransformStream<I = any, O = any> {
  readonly readable: ReadableStream<O>;
  readonly writable: WritableStream<I>;

  constructor(transformer: Transformer<I, O> = {}, _writable?: Strategy, _readable?: Strategy) {
    let controller!: TransformStreamDefaultController<O>;
    let isCancelled = false;
    this.readable = new ReadableStream<O>({
      start: (readable) => {
        controller = new TransformStreamDefaultController(readable);
      },
      cancel: () => {
        isCancelled = true;
      },
    });
    this.writable = new WritableStream<I>({
      start: () => transformer.start?.(controller),
      write: async (chunk) => {
        if (isCancelled || TransformStreamDefaultController.isTerminated(controller)) {
          throw new TypeError("The readable side of this TransformStream is closed.");
        }
        try {
          if (transformer.transform) await transformer.transform(chunk, controller);
          else controller.enqueue(chunk as unknown as O);
        } catch (error) {
          controller.error(error);
          throw error;
        }
      },
      close: async () => {
        try {
          await transformer.flush?.(controller);
        } catch (error) {
          controller.error(error);
          throw error;
        }
        if (!isCancelled) controller.terminate();
      },
      abort: (reason) => controller.error(reason),
    });
  }
}

/** Cloudflare's names for a `TransformStream` of bytes that changes nothing. */
export class IdentityTransformStream extends TransformStream<Uint8Array, Uint8Array> {}

/** It checks that as many bytes come as were said. */
export class FixedLengthStream extends IdentityTransformStream {
  constructor(length: number | bigint) {
    let left = Number(length);
    super({
      transform: (chunk, controller) => {
        left -= chunk.length;
        if (left < 0) throw new TypeError("Attempt to write too many bytes through a FixedLengthStream.");
        controller.enqueue(chunk);
      },
      flush: () => {
        if (left > 0) throw new TypeError("FixedLengthStream did not see all expected bytes before close().");
      },
    });
  }
}

export class TextEncoderStream extends TransformStream<string, Uint8Array> {
  readonly encoding = "utf-8";

  constructor() {
    const encoder = new TextEncoder();
    super({ transform: (text, controller) => controller.enqueue(encoder.encode(String(text))) });
  }
}

export class TextDecoderStream extends TransformStream<Uint8Array, string> {
  readonly encoding = "utf-8";

  constructor(label = "utf-8", options: any = {}) {
    const decoder = new TextDecoder(label, options);
    const add = (text: string, controller: TransformStreamDefaultController<string>) => {
      if (text !== "") controller.enqueue(text);
    };
    super({
      transform: (bytes, controller) => add(decoder.decode(bytes, { stream: true }), controller),
      flush: (controller) => add(decoder.decode(), controller),
    });
  }
}

export class CountQueuingStrategy {
  readonly highWaterMark: number;

  constructor({ highWaterMark }: { highWaterMark: number }) {
    this.highWaterMark = highWaterMark;
  }
}

export class ByteLengthQueuingStrategy extends CountQueuingStrategy {}
