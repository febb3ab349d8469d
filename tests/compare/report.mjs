// The report: Markdown tables and the plot, made only from the runs in results.json.

import { machineInWords } from './machine.mjs';
import { MEASURES, START_MEASURES, median, rowsOf, unique } from './measures.mjs';
import { COLOURS, bars } from './plot.mjs';
import { SERVERS } from './servers.mjs';

/** Dormouse is set beside these. */
const BESIDE = ['granted', 'native', 'bun', 'bun-sqlite', 'workerd'];

export function tables({ machine, rounds, runs }) {
  const servers = Object.keys(SERVERS).filter((name) => runs.some(({ server }) => server === name));
  const others = servers.includes('dormouse') ? BESIDE.filter((name) => servers.includes(name)) : [];
  const parts = [
    '# Compared',
    `${machineInWords(machine)}\nMedians of ${rounds} ${rounds === 1 ? 'round' : 'rounds'}; ratios are Dormouse to the other, of each round, and then their median.`,
    servers.map((name) => `- **${SERVERS[name].label}**: ${SERVERS[name].does}`).join('\n'),
    ...MEASURES.map((measure) => measureTable(measure, runs, servers, others)),
    startTable(runs, servers),
    faultsTable(runs, servers),
    failures(runs),
  ];
  return `${parts.filter(Boolean).join('\n\n')}\n`;
}

function measureTable(measure, runs, servers, others) {
  const rows = rowsOf(measure, runs, servers, others);
  if (rows.length === 0) return undefined;
  const head = ['', ...servers.map((name) => SERVERS[name].label), ...others.map((name) => `÷ ${SERVERS[name].label}`)];
  const body = rows.map(({ scenario, name, medians, ratios }) => [
    [scenario, name].filter(Boolean).join(': '),
    ...medians.map((value) => (value === undefined ? 'failed' : figure(value))),
    ...ratios.map((value) => (value === undefined ? '–' : `${figure(value)} ×`)),
  ]);
  return `## ${measure.title}\n\n${measure.unit}; ${measure.better} is better.\n\n${markdown(head, body)}`;
}

function startTable(runs, servers) {
  const head = ['', ...servers.map((name) => SERVERS[name].label)];
  const body = START_MEASURES.map(({ title, unit, of }) => [
    `${title}, ${unit}`,
    ...servers.map((name) => median(runs.filter(({ server }) => server === name).map(of).filter(Number.isFinite))),
  ]);
  return `## An empty server\n\n${markdown(head, body.map((row) => row.map((cell) => figure(cell))))}`;
}

/** What was lost, came twice or out of order, or failed, in all rounds together. */
function faultsTable(runs, servers) {
  const head = ['lost / duplicated / out of order / failed', ...servers.map((name) => SERVERS[name].label)];
  const body = unique(runs.map(({ scenario }) => scenario)).map((scenario) => [
    scenario,
    ...servers.map((server) => {
      const of = runs.filter((run) => run.scenario === scenario && run.server === server);
      const counted = of.filter(({ report }) => report).map(({ report }) => report.counts);
      if (counted.length === 0) return 'failed';
      const sum = (kind) => counted.reduce((total, counts) => total + counts[kind], 0);
      return ['lost', 'duplicated', 'outOfOrder', 'failed'].map(sum).join(' / ');
    }),
  ]);
  return `## Nothing may be missing\n\n${markdown(head, body)}`;
}

function failures(runs) {
  const lines = runs.filter(({ reason }) => reason).map(({ scenario, server, reason }) => {
    return `- ${scenario}, ${SERVERS[server].label}: ${reason}`;
  });
  return lines.length > 0 ? `## What went wrong\n\n${unique(lines).join('\n')}` : undefined;
}

/** CPU per delivery, by scenario and server. */
export function plot({ machine, rounds, runs }) {
  const servers = Object.keys(SERVERS).filter((name) => runs.some(({ server }) => server === name));
  const rows = rowsOf(MEASURES[0], runs, servers, []);
  if (rows.length === 0) return undefined; // no scenario with traffic was run
  const values = rows.flatMap(({ scenario, medians }) =>
    medians.map((value, at) => ({ category: scenario, series: SERVERS[servers[at]].label, value })),
  );
  return bars({
    title: 'CPU of the server per delivered message',
    subtitle: `median of ${rounds} ${rounds === 1 ? 'round' : 'rounds'}, ${machine.cores} cores shared with the clients; less is better`,
    axis: 'µs per delivery, log scale',
    series: servers.map((name) => SERVERS[name].label),
    // A server keeps its colour, whichever others are there.
    colours: servers.map((name) => COLOURS[Object.keys(SERVERS).indexOf(name)]),
    values,
  });
}

export function markdown(head, body) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const rule = head.map((_, at) => (at === 0 ? '---' : '---:'));
  return [line(head), line(rule), ...body.map(line)].join('\n');
}

/** Three digits that matter; thousands are set apart. */
export function figure(value) {
  if (typeof value !== 'number') return value ?? '–';
  const rounded = Number(value.toPrecision(3));
  return Math.abs(rounded) >= 1000 ? Math.round(rounded).toLocaleString('en') : String(rounded);
}
