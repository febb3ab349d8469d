/** A thread with the process `dormouse test-driver`: it passes lines on, so that the test can wait for them. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { type MessagePort, workerData } from "node:worker_threads";

interface Start {
  program: string;
  args: string[];
  port: MessagePort;
  /** One number: how many lines were passed on. */
  counter: SharedArrayBuffer;
}

/** The end of its standard error that is shown if the driver dies. */
const STDERR_TAIL = 16_384;

const { program, args, port, counter } = workerData as Start;
const passed = new Int32Array(counter);

const pass = (line: object | string): void => {
  port.postMessage(line);
  Atomics.add(passed, 0, 1);
  Atomics.notify(passed, 0);
};

const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
let errors = "";
child.stderr.setEncoding("utf8").on("data", (text: string) => {
  errors = (errors + text).slice(-STDERR_TAIL);
});
child.on("error", (error) => pass({ died: `${program} cannot be started: ${error.message}` }));
child.on("close", (code, signal) => pass({ died: `${program} has ended (${code ?? signal}): ${errors}` }));
createInterface({ input: child.stdout }).on("line", pass);
port.on("message", (line: string) => child.stdin.write(`${line}\n`));
