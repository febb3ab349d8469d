// Where figures come from: without this they say nothing.

import { execFileSync } from 'node:child_process';
import os from 'node:os';

import { ROOT, SERVERS, maxOpenFiles } from './servers.mjs';

export function describeMachine(servers) {
  return {
    date: new Date().toISOString(),
    cpu: os.cpus()[0].model,
    cores: os.cpus().length,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    kernel: `${os.type()} ${os.release()}`,
    openFiles: maxOpenFiles(),
    commit: commit(),
    versions: Object.fromEntries(servers.map((name) => [name, SERVERS[name].version()])),
  };
}

/** The same in a few lines of Markdown. */
export function machineInWords(machine) {
  const { date, cpu, cores, memoryGiB, kernel, openFiles, versions } = machine;
  const of = Object.entries(versions).map(([name, version]) => `${SERVERS[name].label}: ${version}`);
  return [
    `${date.slice(0, 10)}; ${cpu}, ${cores} cores, ${memoryGiB} GiB; ${kernel}; at most ${openFiles} open files a process.`,
    `Client and server share these cores, so ratios travel better than figures.`,
    `${of.join('; ')}.`,
  ].join('\n');
}

function commit() {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).trim();
  } catch {
    return undefined; // an archive, not a checkout
  }
}
