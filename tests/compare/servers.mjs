// The servers that are compared: how each is started, found ready, and ended. Each is one process, and its pid is the
// server's own, so that /proc tells what the server alone has used.

import { spawn, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));
export const ROOT = join(HERE, '../..');

export const DORMOUSE = join(ROOT, 'target/release/dormouse');
const NATIVE = join(ROOT, 'target/release/dormouse-compare-native');
const NODE = join(HERE, 'node/server.mjs');
const BUN = join(HERE, 'node_modules/bun/bin/bun.exe'); // its name on every system
const BUN_SERVER = join(HERE, 'bun/server.mjs');
// Not node_modules/.bin/workerd: that is a script, and its pid is not the server's.
const WORKERD = join(
  HERE,
  `node_modules/@cloudflare/workerd-${process.platform}-${process.arch === 'x64' ? '64' : process.arch}/bin/workerd`,
);

const READY_WITHIN_MS = 20_000;
/** A pause after the start, so that the rest of its work and memory is not measured. */
const REST_MS = 500;
/** The end of a server's output is kept, for the reason of a failure. */
const KEPT_OUTPUT = 20_000;

/** In the order of every table and plot. */
export const SERVERS = {
  dormouse: {
    label: 'Dormouse',
    does: 'sandboxed rooms, each message on disk before it is seen',
    command: (data, { config } = {}) => [
      DORMOUSE,
      'serve',
      ...['--listen', '127.0.0.1:0', '--data', data, '--log', 'warn'],
      ...(config === undefined ? [] : ['--config', config]),
    ],
    version: () => printed(DORMOUSE, '--version'),
  },
  granted: {
    label: 'Dormouse, granted',
    does: 'the same, with a token whose grants are checked for each connect, message and request',
    command: (data) => {
      writeFileSync(join(data, 'jwt.secret'), `${'granted '.repeat(8)}\n`, { mode: 0o600 });
      writeFileSync(granted(data), GRANTED);
      return SERVERS.dormouse.command(data, { config: granted(data) });
    },
    // One user for all sockets: the load generator takes one token.
    token: (data) => {
      const grants = ['--grant', 'rooms/**=read,write,presence', '--valid-for', '1day'];
      return printed(DORMOUSE, 'token', 'bench', '--config', granted(data), ...grants);
    },
    version: () => printed(DORMOUSE, '--version'),
  },
  native: {
    label: 'native Rust',
    does: 'in memory, no sandbox',
    command: () => [NATIVE, '--listen', '127.0.0.1:0'],
    version: () => 'of the same commit as Dormouse',
  },
  node: {
    label: 'Node + ws',
    does: 'in memory, no sandbox',
    command: () => [process.execPath, NODE, '--listen', '127.0.0.1:0'],
    version: () => `Node ${process.version}, ws ${packageVersion('ws')}`,
  },
  bun: {
    label: 'Bun',
    does: 'in memory, no sandbox',
    command: () => [BUN, BUN_SERVER, '--listen', '127.0.0.1:0'],
    version: () => `Bun ${printed(BUN, '--version')}`,
  },
  'bun-sqlite': {
    label: 'Bun + SQLite',
    does: 'no sandbox, each message on disk (WAL, synchronous=FULL) before it is seen',
    command: (data) => [BUN, BUN_SERVER, '--listen', '127.0.0.1:0', '--data', data],
    version: () => `Bun ${printed(BUN, '--version')}`,
  },
  workerd: {
    label: 'workerd',
    does: 'Durable Objects, each message on disk before it is seen',
    command: (data) => [
      WORKERD,
      'serve',
      join(HERE, 'workerd/config.capnp'),
      ...[`--directory-path=objects=${data}`, '--socket-addr=http=127.0.0.1:0', '--control-fd=3'],
    ],
    version: () => printed(WORKERD, '--version'),
  },
};

function granted(data) {
  return join(data, 'granted.toml');
}

/** Dormouse with tokens and grants, and without the limits that dev auth does not have either. */
const GRANTED = `
page = false

[identity]
auth = "jwt"
keys = [{ algorithm = "HS256", file = "jwt.secret" }]

[namespaces.ROOMS]
component = "builtin:chat-room"
access = "granted"

[limits]
messages_per_second = 0
messages_per_second_per_user = 0
sockets_per_user = 0
rooms_per_user = 0
requests_per_user = 0
request_bytes_per_user = 0
answer_bytes_per_user = 0
connections_per_address = 0
connects_per_second_per_address = 0
requests_per_address = 0
`;

/** A new directory for a server's data. Not in /tmp: that may be memory, and a sync must cost what it costs. */
export function dataDirectory(output) {
  mkdirSync(output, { recursive: true });
  return mkdtempSync(join(output, 'data-'));
}

/** Starts the server, and waits until it listens. Throws where it does not. */
export async function start(name, data, options) {
  const command = SERVERS[name].command(data, options);
  const began = performance.now();
  const server = new Server(name, spawnWithFiles(command, ['ignore', 'ignore', 'pipe', 'pipe']));
  try {
    await server.listening();
  } catch (error) {
    await server.end();
    throw error;
  }
  server.startedInMs = performance.now() - began;
  server.token = SERVERS[name].token?.(data);
  await after(REST_MS);
  server.emptyBytes = residentBytes(server.pid);
  return server;
}

class Server {
  #process;
  #output = '';
  /** Settled when the process is gone, with the reason. */
  ended;

  constructor(name, child) {
    this.name = name;
    this.pid = child.pid;
    this.#process = child;
    child.stderr.on('data', (text) => (this.#output = (this.#output + text).slice(-KEPT_OUTPUT)));
    this.ended = new Promise((resolve) => {
      child.on('error', (error) => resolve(error.message));
      child.on('close', (code, signal) => resolve(`the server ended (${signal ?? `code ${code}`})`));
    });
  }

  /** Reads the address from the output of the server. */
  async listening() {
    const [, , stderr, control] = this.#process.stdio;
    const address = new Promise((resolve) => {
      stderr.on('data', () => {
        // With what follows the address: a line may come in pieces.
        const [, url] = /ready on (http:\/\/127\.0\.0\.1:\d+)\s/.exec(this.#output) ?? [];
        if (url !== undefined) resolve(url);
      });
      // workerd says it in JSON on the descriptor that it was given for this.
      let line = '';
      control.on('data', (text) => {
        line += text;
        if (line.endsWith('\n')) resolve(`http://127.0.0.1:${JSON.parse(line).port}`);
      });
      control.on('error', () => {}); // the others close it, or leave it alone
    });
    const late = after(READY_WITHIN_MS, 'it does not say that it listens');
    this.url = await Promise.race([address, this.ended.then(fail), late.then(fail)]).catch((error) => {
      throw new Error(`${error.message}: ${this.lastWords()}`);
    });
    late.cancel();
  }

  /** The last line that the server printed, without the addresses of a stack. */
  lastWords() {
    const lines = this.#output.trim().split('\n').filter((line) => !line.startsWith('stack:'));
    return lines.at(-1)?.slice(0, 300) ?? '';
  }

  /**
   * Whether it ran out of files, as far as that can be seen afterwards at no cost: the kernel doubles a process's
   * table of files when it is full, and never makes it smaller.
   */
  filesWereShort() {
    try {
      const size = Number(/^FDSize:\s+(\d+)/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1]);
      return size > maxOpenFiles() ? `it had more than ${size / 2} of ${maxOpenFiles()} files open` : undefined;
    } catch {
      return undefined; // it is gone
    }
  }

  /** At once, whatever it is doing: its data are removed anyway, or it has promised to survive this. */
  async end() {
    this.#process.kill('SIGKILL');
    await this.ended;
  }
}

const running = new Set();

/** Spawns with as many open files as we may have: a server needs one for a socket, and workerd three for a room. */
export function spawnWithFiles(command, stdio) {
  const raised = ['/bin/sh', '-c', 'ulimit -n "$(ulimit -Hn)" && exec "$@"', 'sh', ...command];
  const child = spawn(raised[0], raised.slice(1), { stdio });
  running.add(child);
  child.on('close', () => running.delete(child));
  return child;
}

const temporary = new Set();

/** A data directory that goes with `remove`, or at the latest with this process. */
export function temporaryData(output) {
  const path = dataDirectory(output);
  temporary.add(path);
  const remove = () => {
    rmSync(path, { recursive: true, force: true, maxRetries: 3 });
    temporary.delete(path);
  };
  return { path, remove };
}

/** Whatever ends us, the processes that we started end too, and their data go. */
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  for (const path of temporary) rmSync(path, { recursive: true, force: true, maxRetries: 3 });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => process.exit(130));
}

export function after(ms, reason) {
  let timer;
  const promise = new Promise((resolve) => (timer = setTimeout(resolve, ms, reason)));
  promise.cancel = () => clearTimeout(timer);
  return promise;
}

function fail(reason) {
  throw new Error(reason);
}

export function residentBytes(pid) {
  const [, kilobytes] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [0, 0];
  return Number(kilobytes) * 1024;
}

/** Of one process. Servers and load generator are started with as many as they may have. */
export function maxOpenFiles() {
  const [, hard] = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  return Number(hard);
}

function printed(...command) {
  return execFileSync(command[0], command.slice(1), { encoding: 'utf8' }).trim();
}

function packageVersion(name) {
  return JSON.parse(readFileSync(join(HERE, 'node_modules', name, 'package.json'), 'utf8')).version;
}
