// The chat part of the wire protocol as a Durable Object for workerd, durable: what an experienced Cloudflare developer
// would write.
//
// Chosen to be fair to workerd:
// - the hibernation API, so that an idle room costs only its sockets, and pings are answered without running any code;
// - the SQLite storage, one short row a message: the JSON that is sent, so that history is joined and never serialized;
// - no await between the write and the broadcast: writes coalesce, and the default output gate alone holds messages
//   until they are durable, so that the object goes on with the next message meanwhile;
// - `seq` is read from the rows once after waking, and counted in memory from there;
// - sockets and users are cached in memory: `getWebSockets` and `deserializeAttachment` make new objects at each call;
// - a frame is a string made once. (A buffer would be a binary frame; workerd encodes the string for each socket.)
// - old messages are removed a thousand at a time, not at each message.

import { DurableObject } from 'cloudflare:workers';

/** Messages a room keeps, as Dormouse's chat room does by default. */
const KEPT = 10_000;
const TRIM_EVERY = 1_000;
const IN_HISTORY = 50;
const IN_PAGE = 100;
const MAX_CONTENT = 2_000;

const PING = '{"type":"ping"}';
const PONG = '{"type":"pong"}';

export class ChatRoom extends DurableObject {
  #sql;
  #seq;
  /** Each socket and its user. A cache of the attachments: it is built again when the room wakes. */
  #users = new Map();
  /** How many sockets each user has: a join or a leave is sent once, not for each tab. */
  #tabs = new Map();

  constructor(state, env) {
    super(state, env);
    this.#sql = state.storage.sql;
    // The row's number is the rowid, so that a message is one insert into one tree.
    this.#sql.exec('CREATE TABLE IF NOT EXISTS messages (seq INTEGER PRIMARY KEY, json TEXT NOT NULL)');
    this.#seq = this.#sql.exec('SELECT coalesce(max(seq), 0) AS seq FROM messages').one().seq;
    for (const socket of state.getWebSockets()) this.#add(socket, socket.deserializeAttachment());
    state.setWebSocketAutoResponse(new WebSocketRequestResponsePair(PING, PONG));
  }

  async fetch(request) {
    const { what, query } = route(request);
    const user = userOf(request, query);
    if (what === 'ws') return this.#join(user);
    if (request.method === 'GET') {
      const limit = Math.min(Number(query.get('limit') ?? IN_PAGE) || IN_PAGE, 500);
      return json(`{"messages":[${this.#latest(limit).join()}]}`);
    }
    let content;
    try {
      content = JSON.parse(await request.text()).content;
    } catch {
      // Answered below: whatever was wrong, there is no content.
    }
    if (typeof content !== 'string' || content.trim() === '') {
      return problem(400, 'Bad Request', 'content must be a string that is not empty');
    }
    return json(`{"success":true,"message":${this.#say(user, content)}}`);
  }

  webSocketMessage(socket, data) {
    const complain = (code, message, clientId) =>
      socket.send(JSON.stringify({ type: 'error', code, message, clientId }));
    if (typeof data !== 'string') return complain('not_text', 'frames must be text');
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
        this.#say(this.#users.get(socket), content, clientId);
        return;
      }
      case 'typing': {
        const user = this.#users.get(socket);
        return this.#tellOthers(user, { type: 'typing', ...user });
      }
      case 'ping':
        return socket.send(PONG); // any other spelling than the one that is answered without us
      default:
        return complain('unknown_type', 'type must be message or typing');
    }
  }

  webSocketClose(socket) {
    this.#leave(socket);
  }

  webSocketError(socket) {
    this.#leave(socket);
  }

  #join(user) {
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server);
    server.serializeAttachment(user);
    server.send(`{"type":"history","messages":[${this.#latest(IN_HISTORY).join()}]}`);
    if (this.#add(server, user) === 1) {
      this.#tellOthers(user, { type: 'user_joined', ...user, timestamp: Date.now() });
    }
    return new Response(null, { status: 101, webSocket: client });
  }

  #leave(socket) {
    const user = this.#users.get(socket);
    if (user === undefined) return; // an error and a close of the same socket
    this.#users.delete(socket);
    const tabs = this.#tabs.get(user.userId) - 1;
    if (tabs > 0) {
      this.#tabs.set(user.userId, tabs);
    } else {
      this.#tabs.delete(user.userId);
      this.#tellOthers(user, { type: 'user_left', ...user, timestamp: Date.now() });
    }
  }

  /** Returns how many sockets the user has now. */
  #add(socket, user) {
    this.#users.set(socket, user);
    const tabs = (this.#tabs.get(user.userId) ?? 0) + 1;
    this.#tabs.set(user.userId, tabs);
    return tabs;
  }

  /** Returns the message as JSON. */
  #say(user, content, clientId) {
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
    this.#sql.exec('INSERT INTO messages (seq, json) VALUES (?, ?)', seq, message);
    this.#seq = seq;
    if (seq % TRIM_EVERY === 0) this.#sql.exec('DELETE FROM messages WHERE seq <= ?', seq - KEPT);

    const frame = `{"type":"message","message":${message}}`;
    for (const socket of this.#users.keys()) send(socket, frame);
    return message;
  }

  #latest(limit) {
    const rows = this.#sql.exec('SELECT json FROM messages ORDER BY seq DESC LIMIT ?', limit).raw();
    return Array.from(rows, ([message]) => message).reverse();
  }

  #tellOthers(user, frame) {
    const text = JSON.stringify(frame);
    for (const [socket, { userId }] of this.#users) {
      if (userId !== user.userId) send(socket, text);
    }
  }
}

/** One socket that is closing must not keep the frame from the others. */
function send(socket, frame) {
  try {
    socket.send(frame);
  } catch {
    // It is about to leave: webSocketClose follows.
  }
}

/** 2,000 UTF-16 units, which is what JavaScript counts; never half of a surrogate pair. */
function cut(content) {
  if (content.length <= MAX_CONTENT) return content;
  const last = content.charCodeAt(MAX_CONTENT - 1);
  return content.slice(0, last >= 0xd800 && last <= 0xdbff ? MAX_CONTENT - 1 : MAX_CONTENT);
}

/** Refuses what needs no room, so that no object is made for it; hands everything else on as it is. */
export default {
  fetch(request, env) {
    const { name, what, query } = route(request);
    if (name === undefined) return problem(404, 'Not Found', 'no such path');
    if (userOf(request, query) === undefined) return problem(401, 'Unauthorized', 'this needs a valid identity');
    if (what === 'ws' && request.headers.get('upgrade') !== 'websocket') {
      return problem(426, 'Upgrade Required', 'this is a WebSocket');
    }
    if (what === 'messages' && request.method !== 'GET' && request.method !== 'POST') {
      return problem(405, 'Method Not Allowed', 'GET or POST', { allow: 'GET, POST' });
    }
    return env.ROOMS.get(env.ROOMS.idFromName(name)).fetch(request);
  },
};

/** Which room a request is for, and what it wants of it. */
function route(request) {
  const { pathname, searchParams } = new URL(request.url);
  const [, name, what] = /^\/api\/realtime\/rooms\/([^/]+)\/(ws|messages)$/.exec(pathname) ?? [];
  return { name: name && decoded(name), what, query: searchParams };
}

function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return undefined; // is no UTF-8: no room has that name
  }
}

/** Development's identity: USER:NAME, as a bearer or as ?token=. */
function userOf(request, query) {
  const token = /^Bearer (.+)$/.exec(request.headers.get('authorization') ?? '')?.[1] ?? query.get('token');
  const colon = token?.indexOf(':') ?? -1;
  return colon > 0 ? { userId: token.slice(0, colon), userName: token.slice(colon + 1) } : undefined;
}

function json(body) {
  return new Response(body, { headers: { 'content-type': 'application/json' } });
}

function problem(status, title, detail, headers = {}) {
  const body = JSON.stringify({ type: 'about:blank', title, status, detail });
  return new Response(body, { status, headers: { 'content-type': 'application/problem+json', ...headers } });
}
