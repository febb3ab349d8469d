// Fills rooms over HTTP before a measurement. Its own speed is not measured.

import http from 'node:http';

const IN_FLIGHT = 64;
const CONTENT = 'something that somebody said a while ago, of the usual length';

/** Posts one message to each of these rooms. A room that is named twice gets two. */
export async function sayInEach(url, rooms) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: IN_FLIGHT });
  const names = rooms[Symbol.iterator]();
  const poster = async () => {
    // The posters share the iterator.
    for (let next = names.next(); !next.done; next = names.next()) await post(url, agent, next.value);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, poster));
  agent.destroy();
}

/** How many messages a room has had. */
export async function saidIn(url, room) {
  const headers = { authorization: 'Bearer filler:filler' };
  const answer = await fetch(`${url}${pathOf(room)}?limit=1`, { headers });
  const { messages } = await answer.json();
  return messages.at(-1)?.seq ?? 0;
}

function post(url, agent, room) {
  return new Promise((resolve, reject) => {
    const headers = { authorization: 'Bearer filler:filler', 'content-type': 'application/json' };
    const request = http.request(url + pathOf(room), { agent, method: 'POST', headers }, (response) => {
      response.resume();
      response.on('error', reject);
      const isGood = response.statusCode === 200;
      response.on('end', () => (isGood ? resolve() : reject(new Error(`POST: ${response.statusCode}`))));
    });
    request.on('error', reject);
    request.end(JSON.stringify({ content: CONTENT }));
  });
}

function pathOf(room) {
  return `/api/realtime/rooms/${room}/messages`;
}
