// Runs every scenario against every server, and writes what came of it. Start here.
//
//     node compare.mjs [--rounds 3] [--only REGEX] [--servers dormouse,native] [--quick] [--output DIR]
//     node compare.mjs --from target/compare/results.json      tables and plot again, nothing is run
//
// Rounds are interleaved: all scenarios with all servers, and then again. Within a scenario the servers follow each
// other at once, and each round begins with another one, so that whatever else the machine does meets all alike.
// Every server is new for every scenario, with an empty directory.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { bench } from './bench.mjs';
import { describeMachine } from './machine.mjs';
import { plot, tables } from './report.mjs';
import { SCENARIOS, benchArguments } from './scenarios.mjs';
import { ROOT, SERVERS, start, temporaryData } from './servers.mjs';

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string' },
    only: { type: 'string', default: '' },
    servers: { type: 'string', default: Object.keys(SERVERS).join() },
    quick: { type: 'boolean', default: false },
    output: { type: 'string', default: join(ROOT, 'target/compare') },
    from: { type: 'string' },
  },
});

const results = options.from ? JSON.parse(readFileSync(options.from, 'utf8')) : await compare();
await write(results);
process.exit(complain(results) ? 1 : 0);

async function compare() {
  const servers = options.servers.split(',');
  const unknown = servers.filter((name) => !Object.hasOwn(SERVERS, name));
  if (unknown.length > 0) throw new Error(`unknown: ${unknown}; there are ${Object.keys(SERVERS)}`);
  const scenarios = SCENARIOS.filter(({ name }) => new RegExp(options.only, 'i').test(name));
  const rounds = Number(options.rounds ?? (options.quick ? 1 : 3));

  const results = { machine: describeMachine(servers), rounds, quick: options.quick, runs: [] };
  for (let round = 1; round <= rounds; round += 1) {
    for (const scenario of scenarios) {
      for (const server of turned(servers, round - 1)) {
        const run = { round, scenario: scenario.name, server, load: os.loadavg()[0], ...(await measure(scenario, server)) };
        results.runs.push(run);
        console.error(`round ${round}, ${scenario.name}, ${server}: ${inShort(run)}`);
      }
      await write(results); // after each scenario: an evening's run that is broken off has not been for nothing
    }
  }
  return results;
}

async function measure(scenario, name) {
  const data = temporaryData(options.output);
  let server;
  try {
    server = await start(name, data.path);
    const { startedInMs, emptyBytes } = server;
    return { startedInMs, emptyBytes, ...(await bench(server, benchArguments(scenario, options.quick))) };
  } catch (error) {
    return { reason: error.message };
  } finally {
    await server?.end();
    data.remove();
  }
}

async function write(results) {
  mkdirSync(options.output, { recursive: true });
  const put = (name, text) => writeFileSync(join(options.output, name), text);
  put('results.json', `${JSON.stringify(results, null, 2)}\n`);
  put('table.md', tables(results));
  const svg = await plot(results);
  if (svg !== undefined) put('compare.svg', svg);
}

/** Dormouse may lose nothing. What others lose is in the table. */
function complain({ runs }) {
  const broken = runs.filter(({ server, report, reason }) => {
    const { lost, duplicated, outOfOrder, failed } = report?.counts ?? {};
    return ['dormouse', 'granted'].includes(server) && (lost + duplicated + outOfOrder + failed > 0 || reason !== undefined);
  });
  for (const { round, scenario, reason } of broken) {
    console.error(`Dormouse broke its promise in round ${round}, ${scenario}: ${reason}`);
  }
  return broken.length > 0;
}

function inShort({ report, reason }) {
  if (report === undefined) return `failed: ${reason}`;
  const cpu = report.server?.cpuSecondsPerMillionDeliveries;
  const bytes = report.server?.bytesPerSocket;
  const figures = [
    cpu !== undefined && `${cpu.toFixed(2)} µs a delivery`,
    report.perSecond.deliveries > 0 && `${Math.round(report.perSecond.deliveries)} deliveries/s`,
    bytes !== undefined && `${Math.round(bytes)} B a socket`,
    ...Object.entries(report.latency).map(([key, { p50 }]) => `${key} p50 ${Math.round(p50)} µs`),
    reason,
  ];
  return figures.filter(Boolean).join(', ');
}

function turned(list, by) {
  const at = by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}
