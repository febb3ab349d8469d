// The chat part of the wire protocol in Node with `ws`, everything in memory: what an experienced Node developer would
// put in production when nothing has to survive a restart.
//
//     node server.mjs --listen 127.0.0.1:8080
//
// Chosen to be fair to Node:
// - one process, one thread: rooms are in its memory, so a cluster would need a router and a broker between workers;
// - no compression (it costs memory for each socket, and messages of a chat are short);
// - a frame is serialized once, and the same buffer goes to every socket;
// - a message is kept as the JSON that is sent, so that history is joined and never serialized again;
// - no write to a disk, and no wait for one.
// And what no such server should go without, so it is here too: a heartbeat, a bound on what waits for a slow socket.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { WebSocketServer } from 'ws';

/** Messages a room keeps, as Dormouse's chat room does by default. */
const KEPT = 10_000;
/** Kept beyond that, so that an array of 10,000 is moved once in 1,000 messages and not at each. */
const SURPLUS = 1_000;
const IN_HISTORY = 50;
const IN_PAGE = 100;
const MAX_CONTENT = 2_000;
const MAX_PAYLOAD = 65_536;
/** What may wait for one socket; beyond it the socket is closed. Without it Node holds whatever a slow reader costs. */
const MAX_WAITING = 1_048_576;
const PING_EVERY_MS = 25_000;

const PONG = Buffer.from('{"type":"pong"}');
/** `ws` would send a buffer as a binary frame. */
const TEXT = { binary: false };

class Room {
  #sockets = new Set();
  /** How many sockets each user has: a join or a leave is sent once, not for each tab. */
  #tabs = new Map();
  #messages = [];
  #seq = 0;

  join(socket, user) {
    socket.send(`{"type":"history","messages":[${this.#messages.slice(-IN_HISTORY).join()}]}`);
    this.#sockets.add(socket);
    const tabs = this.#tabs.get(user.userId) ?? 0;
    this.#tabs.set(user.userId, tabs + 1);
    if (tabs === 0) this.#tellOthers(user, { type: 'user_joined', ...user, timestamp: Date.now() });
  }

  leave(socket, user) {
    this.#sockets.delete(socket);
    const tabs = this.#tabs.get(user.userId) - 1;
    if (tabs > 0) {
      this.#tabs.set(user.userId, tabs);
    } else {
      this.#tabs.delete(user.userId);
      this.#tellOthers(user, { type: 'user_left', ...user, timestamp: Date.now() });
    }
  }

  /** Returns the message as JSON. */
  say(user, content, clientId) {
    const message = JSON.stringify({
      id: randomUUID(),
      userId: user.userId,
      userName: user.userName,
      content: cut(content),
      timestamp: Date.now(),
      seq: ++this.#seq,
      clientId, // left out where there is none
    });
    this.#messages.push(message);
    if (this.#messages.length >= KEPT + SURPLUS) this.#messages.splice(0, this.#messages.length - KEPT);

    const frame = Buffer.from(`{"type":"message","message":${message}}`);
    for (const socket of this.#sockets) send(socket, frame);
    return message;
  }

  typing(user) {
    this.#tellOthers(user, { type: 'typing', ...user });
  }

  latest(limit) {
    return this.#messages.slice(-limit);
  }

  #tellOthers(user, frame) {
    const buffer = Buffer.from(JSON.stringify(frame));
    for (const socket of this.#sockets) {
      if (socket.user.userId !== user.userId) send(socket, buffer);
    }
  }
}

function send(socket, frame) {
  if (socket.readyState !== socket.OPEN) return;
  if (socket.bufferedAmount > MAX_WAITING) {
    socket.close(1013, 'too slow');
    // The close frame would wait behind a megabyte that is not read.
    socket.terminate();
    return;
  }
  socket.send(frame, TEXT);
}

/** 2,000 UTF-16 units, which is what JavaScript counts; never half of a surrogate pair. */
function cut(content) {
  if (content.length <= MAX_CONTENT) return content;
  const last = content.charCodeAt(MAX_CONTENT - 1);
  return content.slice(0, last >= 0xd800 && last <= 0xdbff ? MAX_CONTENT - 1 : MAX_CONTENT);
}

const rooms = new Map();

function roomOf(name) {
  let room = rooms.get(name);
  if (room === undefined) rooms.set(name, (room = new Room()));
  return room;
}

function receive(socket, room, data, isBinary) {
  const complain = (code, message, clientId) =>
    socket.send(JSON.stringify({ type: 'error', code, message, clientId }));
  if (isBinary) return complain('not_text', 'frames must be text');
  let command;
  try {
    command = JSON.parse(data);
  } catch {
    return complain('bad_json', 'frames must be JSON');
  }
  switch (command?.type) {
    case 'message': {
      const { content, clientId } = command;
      if (typeof content !== 'string') return complain('bad_message', 'content must be a string', clientId);
      if (content.trim() === '') return complain('empty_content', 'content must not be empty', clientId);
      return room.say(socket.user, content, clientId);
    }
    case 'typing':
      return room.typing(socket.user);
    case 'ping':
      return socket.send(PONG, TEXT);
    default:
      return complain('unknown_type', 'type must be message or typing');
  }
}

/** Development's identity: USER:NAME, as a bearer or as ?token=. */
function userOf(request, query) {
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? query.get('token');
  const colon = token?.indexOf(':') ?? -1;
  return colon > 0 ? { userId: token.slice(0, colon), userName: token.slice(colon + 1) } : undefined;
}

/** Which room a request is for, and what it wants of it. */
function route(request) {
  const at = request.url.indexOf('?');
  const path = at < 0 ? request.url : request.url.slice(0, at);
  const query = new URLSearchParams(at < 0 ? '' : request.url.slice(at + 1));
  const [, name, what] = /^\/api\/realtime\/rooms\/([^/]+)\/(ws|messages)$/.exec(path) ?? [];
  return { name: name && decoded(name), what, query };
}

function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return undefined; // is no UTF-8: no room has that name
  }
}

function answer(response, status, json) {
  response.writeHead(status, { 'content-type': status < 400 ? 'application/json' : 'application/problem+json' });
  response.end(json);
}

function problem(status, title, detail) {
  return JSON.stringify({ type: 'about:blank', title, status, detail });
}

const server = createServer(async (request, response) => {
  const { name, what, query } = route(request);
  if (name === undefined) return answer(response, 404, problem(404, 'Not Found', 'no such path'));
  const user = userOf(request, query);
  if (user === undefined) return answer(response, 401, problem(401, 'Unauthorized', 'this needs a valid identity'));
  if (what === 'ws') return answer(response, 426, problem(426, 'Upgrade Required', 'this is a WebSocket'));

  if (request.method === 'GET') {
    const limit = Math.min(Number(query.get('limit') ?? IN_PAGE) || IN_PAGE, 500);
    return answer(response, 200, `{"messages":[${roomOf(name).latest(limit).join()}]}`);
  }
  if (request.method !== 'POST') {
    response.setHeader('allow', 'GET, POST');
    return answer(response, 405, problem(405, 'Method Not Allowed', 'GET or POST'));
  }
  let content;
  try {
    content = JSON.parse(await bodyOf(request)).content;
  } catch {
    // Answered below: whatever was wrong, there is no content.
  }
  if (typeof content !== 'string' || content.trim() === '') {
    return answer(response, 400, problem(400, 'Bad Request', 'content must be a string that is not empty'));
  }
  answer(response, 200, `{"success":true,"message":${roomOf(name).say(user, content)}}`);
});

async function bodyOf(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > MAX_PAYLOAD) throw new RangeError('too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

const upgrades = new WebSocketServer({
  noServer: true,
  perMessageDeflate: false,
  maxPayload: MAX_PAYLOAD,
  clientTracking: false, // the rooms do it
});
/** All sockets, for the heartbeat: one timer, not one for each. */
const all = new Set();

server.on('upgrade', (request, stream, head) => {
  const { name, what, query } = route(request);
  const user = userOf(request, query);
  stream.on('error', () => {}); // a client that goes away in mid-handshake must not end the process
  if (name === undefined || what !== 'ws' || user === undefined) {
    stream.end(`HTTP/1.1 ${name !== undefined && what === 'ws' ? '401 Unauthorized' : '404 Not Found'}\r\nConnection: close\r\n\r\n`);
    return;
  }
  upgrades.handleUpgrade(request, stream, head, (socket) => {
    const room = roomOf(name);
    socket.user = user;
    socket.isAlive = true;
    all.add(socket);
    socket.on('message', (data, isBinary) => receive(socket, room, data, isBinary));
    socket.on('pong', alive);
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', () => {
      all.delete(socket);
      room.leave(socket, user);
    });
    room.join(socket, user);
  });
});

/** One function for all sockets: `ws` calls it with the socket as `this`. */
function alive() {
  this.isAlive = true;
}

setInterval(() => {
  for (const socket of all) {
    if (!socket.isAlive) {
      socket.terminate();
      continue;
    }
    socket.isAlive = false;
    socket.ping();
  }
}, PING_EVERY_MS);

const { values } = parseArgs({ options: { listen: { type: 'string', default: '127.0.0.1:8787' } } });
const [, host, port] = /^\[?(.*?)\]?:(\d+)$/.exec(values.listen);
// Node's own backlog of 511 would refuse a storm of clients that the kernel could keep.
server.listen({ host, port: Number(port), backlog: 4096 }, () => {
  console.error(`ready on http://${host}:${server.address().port}`);
});
process.on('SIGTERM', () => process.exit(0));
