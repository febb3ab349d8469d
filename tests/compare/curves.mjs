// How cost grows: one server alone, one thing that becomes more and more. Start here.
//
//     node curves.mjs [--only REGEX] [--quick] [--server dormouse] [--output DIR]
//
// Each point is measured on a new server with an empty directory. A point that fails is a row with the reason.

import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { bench } from './bench.mjs';
import { saidIn, sayInEach } from './fill.mjs';
import { describeMachine, machineInWords } from './machine.mjs';
import { lines } from './plot.mjs';
import { figure, markdown } from './report.mjs';
import { ROOT, SERVERS, after, maxOpenFiles, residentBytes, start, temporaryData } from './servers.mjs';

const { values: options } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    quick: { type: 'boolean', default: false },
    server: { type: 'string', default: 'dormouse' },
    output: { type: 'string', default: join(ROOT, 'target/compare') },
  },
});

const TRAFFIC = options.quick
  ? ['--duration', '1500ms', '--warmup', '500ms']
  : ['--duration', '4s', '--warmup', '1s'];
/** Rooms hibernate after 10 s; memory goes back to the system some seconds later. */
const SETTLE_MS = 30_000;
/** Some files are no sockets: the store's, and those of the process itself. */
const MOST_SOCKETS = Math.min(20_000, maxOpenFiles() - 500);
/** More than one sender can say to any server. */
const MOST_PER_SECOND = 400_000;
/** Filling a room with a million messages takes a while. */
const WITHIN_MS = 300_000;

/** What a run of `fanout` says, in columns. */
const DELIVERY = {
  'CPU per delivery, µs': ({ server }) => server.cpuSecondsPerMillionDeliveries,
  'delivery p50, µs': ({ latency }) => latency.delivery.p50,
  'delivery p99, µs': ({ latency }) => latency.delivery.p99,
  'deliveries/s': ({ perSecond }) => perSecond.deliveries,
};
const DELIVERY_PLOT = { yAxis: 'µs', series: ['CPU per delivery, µs', 'delivery p50, µs', 'delivery p99, µs'] };

/**
 * A curve measures each of its points and gives a row: what is in its table's columns. `quick` is how many points a
 * quick look takes. Its plots draw some of the columns over `of`; a `split` draws a line for each kind of row.
 */
const CURVES = [
  {
    name: 'members',
    title: 'Members of one room',
    note:
      'One of them speaks, with one message on its way. All are sockets of one user, so that joining makes no news for ' +
      'the others; delivering is the same.',
    of: 'members',
    points: [10, 30, 100, 300, 1_000, 3_000, 10_000],
    quick: 5,
    async measure(members) {
      const args = ['--members', members, '--senders', 1, '--window', 1, '--token', 'u:u', ...TRAFFIC];
      return withServer(async (server) => columns(DELIVERY, await figures(server, 'fanout', args)));
    },
    plots: [DELIVERY_PLOT],
  },
  {
    name: 'rooms',
    title: 'Rooms that sleep',
    note:
      'Each with one socket; and without sockets, each with one message that was posted. The last column is a start ' +
      'after kill -9, with these rooms on disk.',
    of: 'rooms',
    points: [
      ...[1, 10, 100, 1_000, 10_000, MOST_SOCKETS].map((rooms) => ({ rooms, kind: 'with a socket' })),
      ...[1, 10, 100, 1_000, 10_000, 100_000].map((rooms) => ({ rooms, kind: 'without a socket' })),
    ],
    quick: 10,
    measure: ({ rooms, kind }) => (kind === 'with a socket' ? roomsWithSocket(rooms) : roomsWithout(rooms)),
    split: 'kind',
    plots: [{ yAxis: 'MB, the whole server', series: ['memory of the server, MB'] }],
  },
  {
    name: 'messages',
    title: 'Messages kept in one room',
    note:
      'Joining is from TCP connect to the first frame, which holds the last 50 messages; then the same after kill -9 ' +
      'and a new start. Sending is one socket that hears its own messages, one at a time.',
    of: 'messages',
    points: [0, 1_000, 10_000, 100_000, 1_000_000],
    quick: 3,
    measure: messagesKept,
    plots: [
      {
        yAxis: 'µs',
        series: ['join p50, µs', 'join after a restart p50, µs', 'echo p50, µs', 'CPU per message, µs'],
      },
    ],
  },
  {
    name: 'payload',
    title: 'Length of a message',
    note:
      'One room of 100, one sender. Content is cut to 2,000 UTF-16 units, so beyond that only what comes in grows, up ' +
      'to the 64 KiB that a frame may have; what goes out has 2,000 bytes. The check that nothing is lost takes some ' +
      '30 bytes of each message.',
    of: 'bytes',
    points: [40, 100, 300, 1_000, 2_000, 4_000, 16_000, 65_000],
    quick: 8,
    async measure(bytes) {
      const args = ['--members', 100, '--senders', 1, '--window', 1, '--bytes', bytes, ...TRAFFIC];
      return withServer(async (server) => columns(DELIVERY, await figures(server, 'fanout', args)));
    },
    plots: [DELIVERY_PLOT],
  },
  {
    name: 'sockets',
    title: 'Idle sockets',
    note: 'Ten in a room, asleep. They are opened 64 at a time.',
    of: 'sockets',
    points: [100, 1_000, 3_000, 10_000, MOST_SOCKETS],
    quick: 3,
    async measure(sockets) {
      return withServer(async (server) => {
        const { server: used, seconds } = await idle(server, sockets, Math.ceil(sockets / 10));
        return { ...memory(used.residentBytesBefore, used.residentBytes, sockets), 'connecting, s': seconds };
      });
    },
    plots: [
      { suffix: '-memory', yAxis: 'MB, the whole server', series: ['memory of the server, MB'] },
      { suffix: '-connecting', yAxis: 's until all are connected', series: ['connecting, s'] },
    ],
  },
];

const machine = describeMachine([options.server]);
const measured = [];
for (const curve of CURVES.filter(({ name }) => new RegExp(options.only, 'i').test(name))) {
  const rows = [];
  measured.push({ curve, rows });
  for (const point of options.quick ? curve.points.slice(0, curve.quick) : curve.points) {
    const row = { ...(typeof point === 'object' ? point : { [curve.of]: point }), ...(await outcome(curve, point)) };
    rows.push(row);
    console.error(`${curve.name}: ${inShort(row)}`);
  }
  await write(); // after each curve: what is measured is kept, whatever happens to the next
}
process.exit(0);

async function outcome(curve, point) {
  try {
    return await curve.measure(point);
  } catch (error) {
    return { reason: error.message };
  }
}

async function roomsWithSocket(rooms) {
  return withServer(async (server) => {
    const { server: used } = await idle(server, rooms, rooms);
    return memory(used.residentBytesBefore, used.residentBytes, rooms);
  });
}

async function roomsWithout(rooms) {
  return withServer(async (server, again) => {
    const before = residentBytes(server.pid);
    await sayInEach(server.url, names(rooms));
    await after(SETTLE_MS);
    const asleep = residentBytes(server.pid);
    const { startedInMs } = await again();
    return { ...memory(before, asleep, rooms), 'start after kill -9, ms': startedInMs };
  });
}

function memory(before, now, count) {
  // Small numbers may come out below zero: a server gives back what it took to start.
  return { 'memory of the server, MB': now / 1e6, 'grown for each, KB': (now - before) / 1e3 / count };
}

async function messagesKept(messages) {
  const keep = `[namespaces.ROOMS]\ncomponent = "builtin:chat-room"\nconfig.keep_messages = "${10 * messages + 1_000_000}"\n`;
  return withServer(async (server, again, data) => {
    const room = 'kept';
    await fill(server, room, messages);
    await after(3_000); // the store tidies up after so many writes; that is not what is measured
    const joins = ['--rooms', 300, ...into(room)];
    const warm = await figures(server, 'connect', joins);
    const bytes = Number(execFileSync('du', ['-s', '--block-size=1', data], { encoding: 'utf8' }).split('\t')[0]);
    server = await again();
    const cold = await figures(server, 'connect', joins);
    const echo = await figures(server, 'fanout', ['--members', 1, '--senders', 1, '--window', 1, ...into(room), ...TRAFFIC]);
    return {
      'join p50, µs': warm.latency.connect.p50,
      'join p99, µs': warm.latency.connect.p99,
      'start after kill -9, ms': server.startedInMs,
      'join after a restart p50, µs': cold.latency.connect.p50,
      'echo p50, µs': echo.latency.delivery.p50,
      'CPU per message, µs': echo.server.cpuSecondsPerMillionDeliveries,
      'on disk, MB': bytes / 1e6,
    };
  }, keep);
}

/** Most of them by one sender with many on their way, the rest by POST, so that there are exactly as many. */
async function fill(server, room, messages) {
  for (;;) {
    const missing = messages - (await saidIn(server.url, room));
    if (missing < 0) throw new Error('the room was filled with too many messages');
    if (missing <= 5_000) return sayInEach(server.url, Array(missing).fill(room));
    // Some runs, each of them too short to say more than is missing.
    const duration = `${Math.ceil((1_000 * missing) / MOST_PER_SECOND)}ms`;
    const args = ['--members', 1, '--senders', 1, '--window', 256, '--duration', duration, '--warmup', '0s'];
    await figures(server, 'fanout', [...args, ...into(room)]);
  }
}

/** Into this room, whatever name the load generator would give it. */
function into(room) {
  return ['--path', `/api/realtime/rooms/${room}/ws`];
}

function* names(count) {
  for (let number = 0; number < count; number += 1) yield `asleep-${number}`;
}

function idle(server, sockets, rooms) {
  return figures(server, 'idle', ['--sockets', sockets, '--rooms', rooms, '--settle', `${SETTLE_MS}ms`]);
}

async function figures(server, scenario, args) {
  const { report, reason } = await bench(server, [scenario, ...args.map(String)], WITHIN_MS);
  if (reason !== undefined) throw new Error(reason);
  return report;
}

/** Runs with a new server; `again` ends it as hard as can be and starts it on the same data. */
async function withServer(run, config) {
  const data = temporaryData(options.output);
  const startOptions = {};
  if (config !== undefined) {
    startOptions.config = join(data.path, 'dormouse.toml');
    writeFileSync(startOptions.config, config);
  }
  const store = join(data.path, 'store');
  mkdirSync(store);
  let server = await start(options.server, store, startOptions);
  const again = async () => {
    await server.end();
    return (server = await start(options.server, store, startOptions));
  };
  try {
    return await run(server, again, store);
  } finally {
    await server.end();
    data.remove();
  }
}

function columns(of, report) {
  return Object.fromEntries(Object.entries(of).map(([name, read]) => [name, read(report)]));
}

async function write() {
  mkdirSync(options.output, { recursive: true });
  const put = (name, text) => writeFileSync(join(options.output, name), text);
  const curves = Object.fromEntries(measured.map(({ curve, rows }) => [curve.name, rows]));
  put('curves.json', `${JSON.stringify({ machine, quick: options.quick, curves }, null, 2)}\n`);
  const parts = measured.map(({ curve, rows }) => `## ${curve.title}\n\n${curve.note}\n\n${tableOf(rows)}`);
  const title = `# How cost grows: ${SERVERS[options.server].label}`;
  put('curves.md', `${[title, machineInWords(machine), ...parts].join('\n\n')}\n`);
  for (const { curve, rows } of measured) {
    for (const plot of curve.plots) {
      const svg = await drawn(curve, plot, rows);
      if (svg !== undefined) put(`curve-${curve.name}${plot.suffix ?? ''}.svg`, svg);
    }
  }
}

function tableOf(rows) {
  const head = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  // The sort of row says what it is about, so it goes first.
  head.sort((a, b) => Number(b === 'kind') - Number(a === 'kind'));
  return markdown(head, rows.map((row) => head.map((name) => figure(row[name]))));
}

function drawn({ title, of, split }, { yAxis, series }, rows) {
  const values = rows.flatMap((row) =>
    series.map((name) => ({ x: row[of], y: row[name], series: split === undefined ? withoutUnit(name) : row[split] })),
  );
  if (!values.some(({ x, y }) => x > 0 && y > 0)) return undefined; // nothing that a log scale could show
  const subtitle = `${SERVERS[options.server].label}, ${machine.cores} cores shared with the clients; both scales are logarithmic`;
  const xAxis = of;
  return lines({ title, subtitle, xAxis, yAxis, series: [...new Set(values.map((value) => value.series))], values });
}

function withoutUnit(name) {
  return name.replace(/, [^,]*$/, '');
}

function inShort(row) {
  return Object.entries(row)
    .map(([name, value]) => (name === 'reason' ? value : `${name} ${figure(value)}`))
    .join('; ');
}
