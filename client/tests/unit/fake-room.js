// @ts-check
/** The server of one chat room: `seq` without gaps, each `clientId` stored once, and a history for each connection. */

/** @typedef {import("../../src/protocol.js").ChatMessage} ChatMessage */
/** @typedef {import("./fake-socket.js").FakeSocket} FakeSocket */

const STORED_ONCE_MS = 10 * 60_000;
const SHOWN = 50;
const RESUMABLE = 500;

export class FakeRoom {
  /** @type {ChatMessage[]} */
  messages = [];
  /** The server was restarted, so it cannot resume the next connection. */
  forgetsSeen = false;
  /** The treatment of the next message. @type {() => "stored" | "lost" | "unanswered" | "late"} */
  fate = () => "stored";
  /** @type {Set<FakeSocket>} */
  #sockets = new Set();

  /** @param {FakeSocket} socket */
  join(socket) {
    socket.accept();
    socket.onSend = (data) => setTimeout(() => this.#receive(socket, JSON.parse(data)), 0);
    this.#sockets.add(socket);
    socket.say(this.#historyFor(new URL(socket.url).searchParams.get("since")));
  }

  /**
   * @param {string} userId
   * @param {string} content
   * @param {string} [clientId]
   */
  store(userId, content, clientId) {
    const known = this.messages.find((message) => clientId !== undefined && message.clientId === clientId);
    if (known && Date.now() - known.timestamp < STORED_ONCE_MS) return known;
    const seq = this.messages.length + 1;
    const message = {
      id: `id ${seq}`,
      userId,
      userName: userId,
      content,
      timestamp: Date.now(),
      seq,
      ...(clientId && { clientId }),
    };
    this.messages.push(message);
    return message;
  }

  /** @param {ChatMessage} message */
  broadcast(message) {
    for (const socket of this.#sockets) socket.say({ type: "message", message });
  }

  /** @param {URL} url */
  page(url) {
    const before = Number(url.searchParams.get("before"));
    const first = Math.max(1, before - Number(url.searchParams.get("limit")));
    return { messages: this.messages.slice(first - 1, before - 1), hasMore: first > 1 };
  }

  /** @param {string | null} since */
  #historyFor(since) {
    const latest = this.messages.slice(-SHOWN);
    if (since === null) return { type: "history", messages: latest };
    const missed = this.messages.slice(Number(since));
    const resumed = !this.forgetsSeen && missed.length <= RESUMABLE && Number(since) <= this.messages.length;
    this.forgetsSeen = false;
    return { type: "history", messages: resumed ? missed : latest, resumed };
  }

  /**
   * @param {FakeSocket} socket
   * @param {any} frame
   */
  #receive(socket, frame) {
    if (socket.readyState === 3) return; // lost with the connection
    if (frame.type === "ping") return socket.say('{"type":"pong"}');
    if (frame.type !== "message") return;
    const store = () => this.store("ana", frame.content, frame.clientId);
    switch (this.fate()) {
      case "stored":
        return this.broadcast(store());
      case "lost":
        return socket.drop();
      case "unanswered":
        store();
        return socket.drop();
      case "late":
        // It was in transit when the connection broke, and arrives after the next connection opens.
        setTimeout(() => this.broadcast(store()), 5_000);
        return socket.drop();
    }
  }
}
