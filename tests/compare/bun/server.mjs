// The chat part of the wire protocol in Bun with its built-in WebSockets: in memory, or with each message in SQLite
// before it is sent.
//
//     bun server.mjs --listen 127.0.0.1:8080 [--data DIR]
//
// Chosen to be fair to Bun:
// - a message goes to a room by `server.publish`, which writes one frame for all subscribers in native code;
// - one process, one thread: rooms are in its memory;
// - no compression;
// - a message is kept as the JSON that is sent, so that history is joined and never serialized again;
// - with `--data`, one database in WAL mode with `synchronous=FULL`, one prepared statement, and each message its own
//   transaction: it is on disk before it is sent. A room that was not used yet reads its newest messages from there.
// And what no such server should go without: a heartbeat and a bound on what waits for a slow socket, both Bun's own.

import { Database } from 'bun:sqlite';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

/** Messages a room keeps in memory, as Dormouse's chat room does by default. */
const KEPT = 10_000;
/** Kept beyond that, so that an array of 10,000 is moved once in 1,000 messages and not at each. */
const SURPLUS = 1_000;
const IN_HISTORY = 50;
const IN_PAGE = 100;
const MAX_CONTENT = 2_000;
const MAX_PAYLOAD = 65_536;
/** What may wait for one socket; beyond it the socket is closed. */
const MAX_WAITING = 1_048_576;
const IDLE_TIMEOUT_S = 50;

const PONG = '{"type":"pong"}';

const { values } = parseArgs({
  options: { listen: { type: 'string', default: '127.0.0.1:8787' }, data: { type: 'string' } },
});
const stored = values.data === undefined ? undefined : openDatabase(join(values.data, 'chat.sqlite'));

function openDatabase(path) {
  const database = new Database(path, { create: true, strict: true });
  database.run('PRAGMA journal_mode = WAL');
  database.run('PRAGMA synchronous = FULL');
  database.run(
    'CREATE TABLE IF NOT EXISTS messages (room TEXT, seq INTEGER, message TEXT, PRIMARY KEY (room, seq)) WITHOUT ROWID',
  );
  return {
    insert: database.query('INSERT INTO messages VALUES (?, ?, ?)'),
    newest: database.query('SELECT seq, message FROM messages WHERE room = ? ORDER BY seq DESC LIMIT ?'),
  };
}

class Room {
  #name;
  #messages = [];
  #seq = 0;
  /** How many sockets each user has: a join or a leave is sent once, not for each tab. */
  #tabs = new Map();
  #sockets = new Set();

  constructor(name) {
    this.#name = name;
    const kept = stored?.newest.all(name, KEPT).reverse() ?? [];
    this.#messages = kept.map(({ message }) => message);
    this.#seq = kept.at(-1)?.seq ?? 0;
  }

  join(socket) {
    const { user } = socket.data;
    socket.send(`{"type":"history","messages":[${this.#messages.slice(-IN_HISTORY).join()}]}`);
    socket.subscribe(this.#name);
    this.#sockets.add(socket);
    const tabs = this.#tabs.get(user.userId) ?? 0;
    this.#tabs.set(user.userId, tabs + 1);
    if (tabs === 0) this.#tellOthers(user, { type: 'user_joined', ...user, timestamp: Date.now() });
  }

  leave(socket) {
    const { user } = socket.data;
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
    const seq = this.#seq + 1;
    const message = JSON.stringify({
      id: crypto.randomUUID(),
      userId: user.userId,
      userName: user.userName,
      content: cut(content),
      timestamp: Date.now(),
      seq,
      clientId, // left out where there is none
    });
    stored?.insert.run(this.#name, seq, message);
    this.#seq = seq;
    this.#messages.push(message);
    if (this.#messages.length >= KEPT + SURPLUS) this.#messages.splice(0, this.#messages.length - KEPT);
    server.publish(this.#name, `{"type":"message","message":${message}}`);
    return message;
  }

  typing(user) {
    this.#tellOthers(user, { type: 'typing', ...user });
  }

  latest(limit) {
    return this.#messages.slice(-limit);
  }

  #tellOthers(user, frame) {
    const text = JSON.stringify(frame);
    for (const socket of this.#sockets) {
      if (socket.data.user.userId !== user.userId) socket.send(text);
    }
  }
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
  if (room === undefined) rooms.set(name, (room = new Room(name)));
  return room;
}

function receive(socket, data) {
  const complain = (code, message, clientId) =>
    socket.send(JSON.stringify({ type: 'error', code, message, clientId }));
  if (typeof data !== 'string') return complain('not_text', 'frames must be text');
  const { room, user } = socket.data;
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
      return room.say(user, content, clientId);
    }
    case 'typing':
      return room.typing(user);
    case 'ping':
      return socket.send(PONG);
    default:
      return complain('unknown_type', 'type must be message or typing');
  }
}

/** Development's identity: USER:NAME, as a bearer or as ?token=. */
function userOf(request, query) {
  const token = /^Bearer (.+)$/.exec(request.headers.get('authorization') ?? '')?.[1] ?? query.get('token');
  const colon = token?.indexOf(':') ?? -1;
  return colon > 0 ? { userId: token.slice(0, colon), userName: token.slice(colon + 1) } : undefined;
}

function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return undefined; // is no UTF-8: no room has that name
  }
}

function answer(status, json, headers) {
  const type = status < 400 ? 'application/json' : 'application/problem+json';
  return new Response(json, { status, headers: { 'content-type': type, ...headers } });
}

function problem(status, title, detail, headers) {
  return answer(status, JSON.stringify({ type: 'about:blank', title, status, detail }), headers);
}

async function handle(request) {
  const url = new URL(request.url);
  const [, encoded, what] = /^\/api\/realtime\/rooms\/([^/]+)\/(ws|messages)$/.exec(url.pathname) ?? [];
  const name = encoded && decoded(encoded);
  if (name === undefined) return problem(404, 'Not Found', 'no such path');
  const user = userOf(request, url.searchParams);
  if (user === undefined) return problem(401, 'Unauthorized', 'this needs a valid identity');
  if (what === 'ws') {
    const isUpgraded = server.upgrade(request, { data: { user, room: roomOf(name) } });
    return isUpgraded ? undefined : problem(426, 'Upgrade Required', 'this is a WebSocket');
  }
  if (request.method === 'GET') {
    const limit = Math.min(Number(url.searchParams.get('limit') ?? IN_PAGE) || IN_PAGE, 500);
    return answer(200, `{"messages":[${roomOf(name).latest(limit).join()}]}`);
  }
  if (request.method !== 'POST') {
    return problem(405, 'Method Not Allowed', 'GET or POST', { allow: 'GET, POST' });
  }
  let content;
  try {
    content = (await request.json()).content;
  } catch {
    // Answered below: whatever was wrong, there is no content.
  }
  if (typeof content !== 'string' || content.trim() === '') {
    return problem(400, 'Bad Request', 'content must be a string that is not empty');
  }
  return answer(200, `{"success":true,"message":${roomOf(name).say(user, content)}}`);
}

const [, hostname, port] = /^\[?(.*?)\]?:(\d+)$/.exec(values.listen);
const server = Bun.serve({
  hostname,
  port: Number(port),
  maxRequestBodySize: MAX_PAYLOAD,
  fetch: handle,
  websocket: {
    perMessageDeflate: false,
    maxPayloadLength: MAX_PAYLOAD,
    backpressureLimit: MAX_WAITING,
    closeOnBackpressureLimit: true,
    idleTimeout: IDLE_TIMEOUT_S,
    sendPings: true,
    open: (socket) => socket.data.room.join(socket),
    message: receive,
    close: (socket) => socket.data.room.leave(socket),
  },
});
console.error(`ready on http://${hostname}:${server.port}`);
process.on('SIGTERM', () => process.exit(0));
