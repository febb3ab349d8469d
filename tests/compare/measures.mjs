// The figures of a run, and how runs are summed up: medians of the figures, and medians of the ratios of each round.
// A ratio is made from two runs that were neighbours in time; what slows the machine for a while slows both.

/** The median; of an even number, the mean of the middle two. Undefined of none. */
export function median(values) {
  const sorted = values.filter((value) => value !== undefined).sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : sorted.length ? (sorted[middle - 1] + sorted[middle]) / 2 : undefined;
}

const isTraffic = ({ scenario }) => scenario === 'fanout' || scenario === 'rooms';

/** A measure's `of` gives figures by what they are of; the empty name is the scenario itself. */
export const MEASURES = [
  {
    title: 'CPU of the server per delivery',
    unit: 'µs',
    better: 'less',
    of: (report) => (isTraffic(report) ? { '': report.server?.cpuSecondsPerMillionDeliveries } : {}),
  },
  {
    title: 'Deliveries per second',
    unit: '1/s',
    better: 'more',
    of: (report) => (isTraffic(report) ? { '': report.perSecond.deliveries } : {}),
  },
  {
    title: 'Messages per second',
    unit: '1/s',
    better: 'more',
    of: (report) => (isTraffic(report) ? { '': report.perSecond.sends } : {}),
  },
  latency('Latency of delivery under that load', isTraffic, ['delivery'], ['p50', 'p99']),
  {
    title: 'Memory per idle socket, its share of the rooms included',
    unit: 'KB',
    better: 'less',
    of: (report) => (report.scenario === 'idle' ? { '': report.server?.bytesPerSocket / 1e3 } : {}),
  },
  {
    // The growth alone would favour a server that gives back the memory of its start, so all memory counts.
    title: 'Memory of the whole server with these sockets',
    unit: 'MB',
    better: 'less',
    of: (report) => (report.scenario === 'idle' ? { '': report.server?.residentBytes / 1e6 } : {}),
  },
  latency('Echo in a sleeping room and in an awake one', is('wake'), ['asleep', 'awake'], ['p50', 'p99']),
  {
    title: 'What waking adds to the echo',
    unit: 'µs',
    better: 'less',
    of: ({ scenario, latency }) => (scenario === 'wake' ? { '': latency.asleep?.p50 - latency.awake?.p50 } : {}),
  },
  latency('First connect to a new room', is('connect'), ['connect'], ['p50', 'p99']),
  latency('HTTP', is('http'), ['post', 'post_to_delivery', 'get'], ['p50', 'p99']),
  latency('Reconnecting all at once', is('storm'), ['reconnect'], ['p50', 'p99', 'max']),
];

/** Of a server with nothing in it; read at every start. */
export const START_MEASURES = [
  { title: 'from start to listening', unit: 'ms', of: ({ startedInMs }) => startedInMs },
  { title: 'resident memory then', unit: 'MB', of: ({ emptyBytes }) => emptyBytes / 1e6 },
];

function is(name) {
  return ({ scenario }) => scenario === name;
}

function latency(title, applies, keys, quantiles) {
  const named = (key, quantile) => (keys.length > 1 ? `${key.replaceAll('_', ' ')}, ${quantile}` : quantile);
  const of = (report) => {
    if (!applies(report)) return {};
    const pairs = keys.flatMap((key) => quantiles.map((at) => [named(key, at), report.latency[key]?.[at]]));
    return Object.fromEntries(pairs);
  };
  return { title, unit: 'µs', better: 'less', of };
}

/**
 * The rows of one measure: for each scenario, and each of its figures, the median of each server and the ratios of
 * Dormouse to `others`. `runs` are those of results.json.
 */
export function rowsOf(measure, runs, servers, others) {
  const rows = [];
  for (const scenario of unique(runs.map(({ scenario }) => scenario))) {
    const of = runs.filter((run) => run.scenario === scenario);
    const figures = of.map((run) => (run.report ? measure.of(run.report) : {}));
    for (const name of unique(figures.flatMap((figure) => Object.keys(figure)))) {
      const values = (server) => byRound(of, figures, name, server);
      const medians = servers.map((server) => median([...values(server).values()]));
      if (medians.every((value) => value === undefined)) continue;
      const ratios = others.map((other) => ratio(values('dormouse'), values(other)));
      rows.push({ scenario, name, medians, ratios });
    }
  }
  return rows;
}

/** The figures of one server, by round. */
function byRound(runs, figures, name, server) {
  const found = runs.flatMap((run, at) => (run.server === server ? [[run.round, number(figures[at][name])]] : []));
  return new Map(found.filter(([, value]) => value !== undefined));
}

function ratio(ours, theirs) {
  const rounds = [...ours.keys()].filter((round) => theirs.get(round) > 0);
  return median(rounds.map((round) => ours.get(round) / theirs.get(round)));
}

function number(value) {
  return Number.isFinite(value) ? value : undefined;
}

export function unique(values) {
  return [...new Set(values)];
}
