// Whether the servers say the same: the chat part of the wire protocol, asked of each server in turn. A comparison of
// servers that do different things would be worth nothing.
//
//     node check.mjs [--servers node,workerd]

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import WebSocket from 'ws';

import { ROOT, SERVERS, after, start, temporaryData } from './servers.mjs';

const WITHIN_MS = 5_000;
/** Long enough for a room to hibernate, with workerd and Dormouse both after 10 s. */
const ASLEEP_AFTER_MS = 12_000;

/** A client that receives frames one after the other. */
class Client {
  #frames = [];
  #waiting = [];

  constructor(url, room, user) {
    this.socket = new WebSocket(`${url.replace('http', 'ws')}/api/realtime/rooms/${room}/ws?token=${user}`);
    this.socket.on('message', (data, isBinary) => {
      assert.equal(isBinary, false, 'a binary frame');
      const frame = JSON.parse(data);
      const next = this.#waiting.shift();
      next === undefined ? this.#frames.push(frame) : next(frame);
    });
    this.failed = new Promise((_, reject) => this.socket.on('error', reject));
    this.failed.catch(() => {});
  }

  async receives(type) {
    const next = this.#frames.shift() ?? new Promise((resolve) => this.#waiting.push(resolve));
    const late = after(WITHIN_MS);
    const frame = await Promise.race([next, this.failed, late.then(() => assert.fail(`no ${type} was received`))]);
    late.cancel();
    assert.equal(frame.type, type, JSON.stringify(frame));
    return frame;
  }

  says(frame) {
    this.socket.send(JSON.stringify(frame));
  }

  async leaves() {
    this.socket.close();
    await new Promise((resolve) => this.socket.on('close', resolve));
  }
}

const PROMISES = {
  async 'history comes first, and a message reaches everybody with the next number'({ url }) {
    const ana = new Client(url, 'a', '1:ana');
    assert.deepEqual((await ana.receives('history')).messages, []);
    const bo = new Client(url, 'a', '2:bo');
    await bo.receives('history');
    const joined = await ana.receives('user_joined');
    assert.deepEqual([joined.userId, joined.userName], ['2', 'bo']);

    for (let seq = 1; seq <= 60; seq += 1) {
      (seq % 2 ? ana : bo).says({ type: 'message', content: `number ${seq}`, userId: '3' });
      const [one, other] = [await ana.receives('message'), await bo.receives('message')];
      assert.deepEqual(one, other);
      const { id, timestamp, ...rest } = one.message;
      const [userId, userName] = seq % 2 ? ['1', 'ana'] : ['2', 'bo'];
      assert.deepEqual(rest, { userId, userName, content: `number ${seq}`, seq });
      assert.match(id, /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/);
      assert.ok(Math.abs(timestamp - Date.now()) < 10_000);
    }
    const late = new Client(url, 'a', '3:cy');
    const { messages } = await late.receives('history');
    assert.deepEqual(messages.map(({ seq }) => seq), Array.from({ length: 50 }, (_, at) => at + 11));
  },

  async 'joins and leaves are sent to the others, once for a user'({ url }) {
    const ana = new Client(url, 'b', '1:ana');
    await ana.receives('history');
    const tabs = [new Client(url, 'b', '2:bo'), new Client(url, 'b', '2:bo')];
    for (const tab of tabs) await tab.receives('history');
    await tabs[0].leaves();
    await tabs[1].leaves();
    await ana.receives('user_joined');
    assert.equal((await ana.receives('user_left')).userId, '2');
  },

  async 'typing goes to the others alone, ping is answered, nonsense is complained of'({ url }) {
    const ana = new Client(url, 'c', '1:ana');
    await ana.receives('history');
    const bo = new Client(url, 'c', '2:bo');
    await bo.receives('history');
    await ana.receives('user_joined');
    ana.says({ type: 'typing' });
    ana.says({ type: 'ping' });
    ana.says({ type: 'shout' });
    ana.says({ type: 'message', content: ' ' });
    ana.socket.send('{');
    await ana.receives('pong');
    for (let complaints = 0; complaints < 3; complaints += 1) await ana.receives('error');
    assert.equal((await bo.receives('typing')).userId, '1');
  },

  async 'what is posted reaches the sockets, and is listed'({ url }) {
    const ana = new Client(url, 'd', '1:ana');
    await ana.receives('history');
    const path = `${url}/api/realtime/rooms/d/messages`;
    const headers = { authorization: 'Bearer 2:bo' };
    const body = JSON.stringify({ content: '🐭'.repeat(1500) });
    const posted = await (await fetch(path, { method: 'POST', headers, body })).json();
    assert.equal(posted.success, true);
    assert.equal(posted.message.content, '🐭'.repeat(1000));
    assert.deepEqual((await ana.receives('message')).message, posted.message);
    assert.deepEqual((await (await fetch(path, { headers })).json()).messages, [posted.message]);
    assert.equal((await fetch(path)).status, 401);
    assert.equal((await fetch(path, { method: 'POST', headers, body: '{}' })).status, 400);
    assert.equal((await fetch(`${url}/nothing`, { headers })).status, 404);
  },

  async 'a room that slept knows its sockets'({ url }) {
    const [ana, bo] = [new Client(url, 'e', '1:ana'), new Client(url, 'e', '1:ana')];
    await Promise.all([ana.receives('history'), bo.receives('history')]);
    ana.says({ type: 'message', content: 'before' });
    await Promise.all([ana.receives('message'), bo.receives('message')]);
    await after(ASLEEP_AFTER_MS);
    bo.says({ type: 'message', content: 'after' });
    const received = await Promise.all([ana.receives('message'), bo.receives('message')]);
    for (const { message } of received) assert.deepEqual([message.seq, message.userName], [2, 'ana']);
  },

  async 'a received message is there after kill -9'(server, again) {
    const ana = new Client(server.url, 'f', '1:ana');
    await ana.receives('history');
    ana.says({ type: 'message', content: 'to be kept' });
    const { message } = await ana.receives('message');
    ana.socket.on('error', () => {});
    const { url } = await again();
    const back = new Client(url, 'f', '1:ana');
    assert.deepEqual((await back.receives('history')).messages, [message]);
    back.says({ type: 'message', content: 'the next' });
    assert.equal((await back.receives('message')).message.seq, 2);
  },
};

/** The servers that keep nothing. */
const FORGETFUL = ['native', 'node', 'bun'];

// A server that asks for tokens gives the same answers as the same program without.
const open = Object.keys(SERVERS).filter((name) => SERVERS[name].token === undefined);
const { values } = parseArgs({ options: { servers: { type: 'string', default: open.join() } } });
let failures = 0;
for (const name of values.servers.split(',')) {
  const data = temporaryData(join(ROOT, 'target/compare'));
  let server = await start(name, data.path);
  const again = async () => {
    await server.end();
    return (server = await start(name, data.path));
  };
  for (const [promise, keep] of Object.entries(PROMISES)) {
    if (promise.includes('kill -9') && FORGETFUL.includes(name)) continue;
    try {
      await keep(server, again);
      console.log(`ok      ${name}: ${promise}`);
    } catch (error) {
      failures += 1;
      console.log(`FAILED  ${name}: ${promise}\n        ${error.message}`);
    }
  }
  await server.end();
  data.remove();
}
process.exit(failures === 0 ? 0 : 1);
