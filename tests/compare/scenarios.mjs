// The table of scenarios. Each is the name of a row and the arguments of `dormouse bench`.
//
// `quick` replaces options by name, for a look that takes a few minutes. A server that is known not to finish a row is
// still asked: the reason is in the table, and a newer version may do it.

const TRAFFIC = { '--duration': '5s', '--warmup': '1s' };
const BRIEF = { '--duration': '1500ms', '--warmup': '500ms' };

/** One room; `senders` of its members speak. */
function room(name, members, senders, window) {
  const options = { '--members': members, '--senders': senders, '--window': window, ...TRAFFIC };
  return { name, bench: 'fanout', options, quick: BRIEF };
}

/** Many rooms, in which everybody speaks, with one message on its way at a time. */
function rooms(name, rooms, members) {
  const options = { '--rooms': rooms, '--members': members, '--window': 1, ...TRAFFIC };
  return { name, bench: 'rooms', options, quick: BRIEF };
}

function idle(name, sockets, rooms) {
  // Rooms hibernate after 10 s, with Dormouse and with workerd; memory goes back to the system some seconds later.
  return { name, bench: 'idle', options: { '--sockets': sockets, '--rooms': rooms, '--settle': '30s' } };
}

export const SCENARIOS = [
  room('1 room × 10, one sender', 10, 1, 1),
  room('1 room × 100, one sender', 100, 1, 1),
  room('1 room × 1,000, one sender', 1_000, 1, 1),
  room('1 room × 1,000, ten senders × 16', 1_000, 10, 16),
  room('hot room: 10 members, all send × 16', 10, 10, 16),
  rooms('100 rooms × 10, all send', 100, 10),
  rooms('1,000 rooms × 4, all send', 1_000, 4),
  rooms('5,000 rooms × 2, all send', 5_000, 2),

  // The smaller ones are for workerd: it takes two files a socket and three a room, and often may not have more.
  idle('idle: 4,000 sockets in 400 rooms', 4_000, 400),
  idle('idle: 10,000 sockets in 1,000 rooms', 10_000, 1_000),
  idle('idle: 10,000 sockets in 10,000 rooms', 10_000, 10_000),

  { name: 'wake: echo in 200 rooms', bench: 'wake', options: { '--rooms': 200, '--asleep-after': '12s' } },
  { name: 'first connect to 1,000 new rooms', bench: 'connect', options: { '--rooms': 1_000 } },
  {
    name: 'HTTP: 10 rooms, one request at a time in each',
    bench: 'http',
    options: { '--rooms': 10, '--window': 1, '--duration': '5s' },
    quick: { '--duration': '1500ms' },
  },
  { name: 'storm: 2,000 sockets reconnect', bench: 'storm', options: { '--sockets': 2_000, '--rooms': 200 } },
];

/** The arguments for `dormouse bench`. */
export function benchArguments(scenario, isQuick) {
  const options = { ...scenario.options, ...(isQuick ? scenario.quick : {}) };
  return [scenario.bench, ...Object.entries(options).flatMap(([name, value]) => [name, String(value)])];
}
