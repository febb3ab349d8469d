/**
 * Speaks the protocol of `dormouse test-driver` (docs/test-driver.md). Each command waits for its result, so a test reads
 * from top to bottom, without `await`.
 */
import { existsSync, mkdirSync } from "node:fs";
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from "node:worker_threads";

/** The supported version of the protocol. */
const PROTOCOL = 1;

/** How long the driver may be silent, in milliseconds. Compiling a component takes the longest. */
const ANSWER_TIMEOUT_MS = 300_000;

/** Drivers that run at once in this process. Another room takes the one that was opened first. */
const MAX_DRIVERS = 8;

type Fields = Record<string, any>;

/** A turn that failed: nothing of it was kept. */
export class TurnFailure extends Error {
  override name = "TurnFailure";
  /** `guest`, `cpu`, `memory`, `tables`, `trap`, `host` or `instantiate`. */
  readonly kind: string;

  constructor(kind: string, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** What happens during a command, by the kind of its line. A call of the room is answered. */
export type OnLine = (kind: string, value: any) => Fields | void;

const drivers: Driver[] = [];

export class Driver {
  readonly #port: MessagePort;
  readonly #passed: Int32Array;
  readonly #worker: Worker;
  #read = 0;
  #isOpen = true;

  /** A driver with a component. `command` opens it. */
  static open(program: string, command: Fields, onLine: OnLine): Driver {
    while (drivers.length >= MAX_DRIVERS) drivers.shift()?.end();
    const driver = new Driver(program);
    drivers.push(driver);
    driver.run(command, onLine);
    return driver;
  }

  private constructor(program: string) {
    const { port1, port2 } = new MessageChannel();
    const counter = new SharedArrayBuffer(4);
    const args = ["test-driver", ...codeCache()];
    this.#port = port1;
    this.#passed = new Int32Array(counter);
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), {
      workerData: { program, args, port: port2, counter },
      transferList: [port2],
    });
    this.#worker.unref();
    this.#port.unref();
    const { hello } = this.#line();
    if (hello?.protocol !== PROTOCOL) {
      this.end();
      throw new Error(`${program} speaks another protocol for tests: ${JSON.stringify(hello)}, not ${PROTOCOL}`);
    }
  }

  /** Runs a command. Returns the fields of `done`. */
  run(command: Fields, onLine: OnLine): Fields {
    if (!this.#isOpen) throw new Error(`this room was closed, because ${MAX_DRIVERS} newer ones were opened`);
    this.#port.postMessage(JSON.stringify(command));
    for (;;) {
      const line = this.#line();
      const [kind = "", value] = Object.entries(line)[0] ?? [];
      switch (kind) {
        case "done":
          return value;
        case "failed":
          throw new TurnFailure(value.kind, value.message);
        case "error":
          throw new Error(`${JSON.stringify(command)}: ${value}`);
        case "died":
          this.#isOpen = false;
          throw new Error(value);
      }
      const answer = onLine(kind, value);
      if (answer) this.#port.postMessage(JSON.stringify(answer));
    }
  }

  end(): void {
    this.#isOpen = false;
    void this.#worker.terminate();
  }

  #line(): Fields {
    for (;;) {
      const received = receiveMessageOnPort(this.#port);
      if (received) {
        this.#read++;
        return typeof received.message === "string" ? JSON.parse(received.message) : received.message;
      }
      if (Atomics.wait(this.#passed, 0, this.#read, ANSWER_TIMEOUT_MS) === "timed-out") {
        throw new Error(`the driver has said nothing for ${ANSWER_TIMEOUT_MS / 1000} s`);
      }
    }
  }
}

/** Compiled components are kept beside the packages, so that only the first run compiles them. */
const codeCache = (): string[] => {
  if (!existsSync("node_modules")) return [];
  const folder = "node_modules/.cache/dormouse";
  mkdirSync(folder, { recursive: true });
  return ["--code-cache", folder];
};
