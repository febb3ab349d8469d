/**
 * `setTimeout` and `setInterval`: closures in the memory of the instance, each on a timer of the room. A closure is gone
 * with its instance, as on Cloudflare with an eviction; its timer then fires for nothing.
 *
 * Callbacks without a delay run at the end of the turn that set them.
 */
import * as host from "dormouse:host";

import { unsupported } from "./unsupported.js";

/** A timer of a closure: this, and its number. */
const PREFIX = "~t";

interface Job {
  run(): void;
  /** In milliseconds, for an interval. */
  every?: number;
}

const jobs = new Map<number, Job>();
let lastNumber = 0;

/** Callbacks without a delay, in order. */
const soon: number[] = [];

/** Where there are no timers, and the reason. */
let forbidden: { where: string; reason: string } | undefined;

/** From now on a delay fails. */
export const forbid = (where: string, reason: string): void => {
  forbidden = { where, reason };
};

type Callback = (...args: unknown[]) => void;

export const setTimeout = (callback: Callback, delay?: number, ...args: unknown[]): number => {
  const number = add({ run: () => callback(...args) });
  const ms = milliseconds(delay);
  if (ms > 0) schedule(number, ms, "setTimeout()");
  else soon.push(number);
  return number;
};

export const setInterval = (callback: Callback, delay?: number, ...args: unknown[]): number => {
  const every = Math.max(1, milliseconds(delay));
  const number = add({ run: () => callback(...args), every });
  schedule(number, every, "setInterval()");
  return number;
};

export const clearTimeout = (number?: number): void => {
  if (jobs.delete(Number(number))) host.cancelTimer(`${PREFIX}${number}`);
};

export const scheduler = {
  wait: (delay: number): Promise<void> => new Promise<void>((resolve) => void setTimeout(() => resolve(), delay)),
};

/** Whether a later turn of this instance will run a callback. */
export const isAnyPending = (): boolean => jobs.size > 0;

export const isOfClosure = (name: string): boolean => name.startsWith(PREFIX);

/** The closure whose timer fired; `undefined` if it is gone. An interval sets its timer again. */
export const take = (name: string): (() => void) | undefined => {
  const number = Number(name.slice(PREFIX.length));
  const job = jobs.get(number);
  if (job?.every === undefined) jobs.delete(number);
  else schedule(number, job.every, "setInterval()");
  return job?.run;
};

/** The next callback without a delay. */
export const takeSoon = (): (() => void) | undefined => {
  for (let number = soon.shift(); number !== undefined; number = soon.shift()) {
    const job = jobs.get(number);
    if (!job) continue; // it was cleared
    jobs.delete(number);
    return job.run;
  }
  return undefined;
};

const add = (job: Job): number => {
  jobs.set(++lastNumber, job);
  return lastNumber;
};

const schedule = (number: number, ms: number, call: string): void => {
  if (forbidden) unsupported(`${call} with a delay ${forbidden.where}`, forbidden.reason);
  const problem = host.setTimer(`${PREFIX}${number}`, host.now() + ms);
  if (problem === null) return;
  jobs.delete(number);
  throw new RangeError(`${call}: the room has 1,000 timers already; clear some, or use one timer for all of them`);
};

/** The longest delay, as everywhere: a longer one is none. */
const MAX_DELAY_MS = 2 ** 31 - 1;

const milliseconds = (delay: unknown): number => {
  const ms = Math.trunc(Number(delay ?? 0));
  return ms > 0 && ms <= MAX_DELAY_MS ? ms : 0;
};
