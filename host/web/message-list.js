// @ts-check
/**
 * The list of messages: brings the document in line with a chat, at most once a frame, and moves no element that is
 * in its place already.
 */

import { dayName, dayOf } from "./days.js";
import { byId, make } from "./dom.js";
import { makeRow, markRow, placeRow } from "./message-row.js";
import { ScrollKeeper } from "./scroll-keeper.js";

/** Within this time, ms, what one user says next belongs to what they said before. */
const SAME_BREATH_MS = 5 * 60_000;

/**
 * @typedef {import("/client/index.js").Chat} Chat
 * @typedef {import("/client/index.js").ChatMessage} ChatMessage
 * @typedef {import("/client/index.js").PendingMessage} PendingMessage
 * @typedef {{ userId: string | undefined, userName: string | undefined }} Me
 *
 * @typedef {Object} Line
 * @property {string} key
 * @property {{ userId: string, userName: string, content: string, timestamp: number }} [message] Absent: a day begins.
 * @property {PendingMessage} [pending]
 * @property {boolean} [isOwn]
 * @property {boolean} [opensGroup]
 * @property {number} [day]
 */

export class MessageList {
  #list = byId("messages");
  #older = byId("older", HTMLButtonElement);
  #newer = byId("newer", HTMLButtonElement);
  #empty = byId("empty");
  #scroller = byId("scroller");
  #leaving = new AbortController();
  #scroll = new ScrollKeeper(this.#scroller, this.#list, this.#leaving.signal, () => this.#readerMoved());

  #chat;
  #me;
  #announce;
  /** @type {Map<string, HTMLLIElement>} */
  #rows = new Map();
  #unread = 0;
  #frame = 0;
  #holdsAnchor = false;

  /**
   * @param {Chat} chat
   * @param {() => Me} me
   * @param {(text: string) => void} announce
   */
  constructor(chat, me, announce) {
    this.#chat = chat;
    this.#me = me;
    this.#announce = announce;
    const { signal } = this.#leaving;
    this.#older.addEventListener("click", () => this.#loadOlder(), { signal });
    this.#newer.addEventListener("click", () => this.#scroll.toEnd(), { signal });
    // "Today" and "Yesterday" move on while nobody looks.
    document.addEventListener("visibilitychange", () => this.refresh(), { signal });

    const ended = [
      chat.on("state", () => this.refresh()),
      chat.on("pending", () => this.refresh()),
      chat.on("stored", ({ clientId, message }) => this.#renameRow(pendingKey(clientId), storedKey(message))),
      chat.on("messages", ({ added, from }) => this.#took(added, from)),
      chat.on("resync", () => this.#beganAnew()),
    ];
    signal.addEventListener("abort", () => ended.forEach((end) => end()));
    this.#render();
    this.#scroll.toEnd();
  }

  leave() {
    this.#leaving.abort();
    cancelAnimationFrame(this.#frame);
    this.#list.replaceChildren();
    this.#older.hidden = this.#newer.hidden = this.#empty.hidden = true;
  }

  /** The reader has spoken, and wants to see it. */
  follow() {
    this.#scroll.toEnd();
  }

  refresh() {
    this.#frame ||= requestAnimationFrame(() => this.#render());
  }

  /**
   * @param {readonly ChatMessage[]} added
   * @param {"history" | "live" | "older"} from
   */
  #took(added, from) {
    const others = added.filter(({ userId }) => userId !== this.#me().userId);
    if (from !== "older" && !this.#scroll.follows) this.#unread += others.length;
    if (from === "live") for (const { userName, content } of others) this.#announce(`${userName}: ${content}`);
    if (from === "older") this.#holdsAnchor = true;
    this.refresh();
  }

  #beganAnew() {
    this.#unread = 0;
    this.#scroll.toEnd();
    this.#announce("Much was said while you were away. These are the latest messages.");
  }

  async #loadOlder() {
    // Not disabled: that would take the focus away. The chat loads one page at a time anyway.
    this.#older.textContent = "Loading…";
    try {
      const count = await this.#chat.loadOlder();
      this.#announce(count === 1 ? "1 older message" : `${count} older messages`);
    } catch {
      this.#announce("The older messages could not be loaded");
    } finally {
      this.#older.textContent = "Load older messages";
      this.refresh();
    }
  }

  #readerMoved() {
    if (this.#scroll.follows) this.#unread = 0;
    this.#showNewer();
  }

  #render() {
    this.#frame = 0;
    const hadFocus = document.activeElement === this.#older;
    if (this.#holdsAnchor) {
      this.#scroll.holding(this.#list.querySelector(".message"), () => this.#arrange());
      this.#holdsAnchor = false;
    } else {
      this.#arrange();
    }
    this.#older.hidden = !this.#chat.hasOlder;
    // A button that goes while it has the focus would throw the reader back to the top of the page.
    if (this.#older.hidden && hadFocus) this.#scroller.focus({ preventScroll: true });
    if (this.#scroll.follows) this.#scroll.toEnd();
    this.#showEmpty();
    this.#showNewer();
  }

  #arrange() {
    const lines = this.#lines();
    const wanted = new Set(lines.map(({ key }) => key));
    for (const [key, row] of this.#rows) {
      if (wanted.has(key)) continue;
      row.remove();
      this.#rows.delete(key);
    }
    let place = this.#list.firstElementChild;
    for (const line of lines) {
      const row = this.#rowOf(line);
      if (row === place) place = place.nextElementSibling;
      else this.#list.insertBefore(row, place);
    }
  }

  /** @param {Line} line */
  #rowOf({ key, message, pending, isOwn = false, opensGroup = false, day = 0 }) {
    const row = this.#rows.get(key) ?? (message ? makeRow(message) : make("li", { class: "day" }, make("span")));
    this.#rows.set(key, row);
    if (message) {
      placeRow(row, { isOwn, opensGroup });
      markRow(row, pending, { retry: (clientId) => this.#retry(clientId), discard: (clientId) => this.#chat.discard(clientId) });
    } else if (row.firstElementChild) {
      row.firstElementChild.textContent = dayName(day, Date.now());
    }
    return row;
  }

  /** @returns {Line[]} */
  #lines() {
    const me = this.#me();
    /** @type {Line[]} */
    const lines = [];
    /** @type {Line["message"]} */
    let last;
    let lastDay = NaN;
    const add = (/** @type {string} */ key, /** @type {NonNullable<Line["message"]>} */ message, /** @type {PendingMessage | undefined} */ pending) => {
      const day = dayOf(message.timestamp);
      const isNewDay = day !== lastDay;
      if (isNewDay) lines.push({ key: `day ${day}`, day });
      const opensGroup = isNewDay || last === undefined || last.userId !== message.userId || message.timestamp - last.timestamp > SAME_BREATH_MS;
      lines.push({ key, message, pending, opensGroup, isOwn: pending !== undefined || message.userId === me.userId });
      last = message;
      lastDay = day;
    };
    for (const message of this.#chat.messages) add(storedKey(message), message, undefined);
    for (const pending of this.#chat.pending) {
      const { clientId, content, createdAt } = pending;
      // Ours, and the newest, whatever this browser's clock says of the server's.
      const timestamp = Math.max(createdAt, last?.timestamp ?? 0);
      add(pendingKey(clientId), { userId: me.userId ?? "", userName: me.userName ?? "You", content, timestamp }, pending);
    }
    return lines;
  }

  /** @param {string} clientId */
  #retry(clientId) {
    this.#chat.retry(clientId).catch(() => this.#announce("Still not sent"));
  }

  /**
   * The row of a pending message becomes that of the stored one, so that nothing flickers.
   *
   * @param {string} from
   * @param {string} to
   */
  #renameRow(from, to) {
    const row = this.#rows.get(from);
    if (!row || this.#rows.has(to)) return;
    this.#rows.delete(from);
    this.#rows.set(to, row);
  }

  #showEmpty() {
    const { hasBegun, messages, pending, roomId, state } = this.#chat;
    this.#empty.hidden = messages.length + pending.length > 0;
    byId("empty-title").textContent = hasBegun ? `${roomId} is fast asleep` : state === "closed" ? "The door is shut" : "On the way to the room …";
    byId("empty-hint").textContent = hasBegun ? "Say something to wake it." : "";
  }

  #showNewer() {
    this.#newer.hidden = this.#scroll.follows;
    this.#newer.dataset.unread = String(this.#unread);
    this.#newer.textContent = this.#unread === 0 ? "To the latest" : this.#unread === 1 ? "1 new message" : `${this.#unread} new messages`;
  }
}

/** @param {ChatMessage} message */
function storedKey({ id }) {
  return `stored ${id}`;
}

/** @param {string} clientId */
function pendingKey(clientId) {
  return `pending ${clientId}`;
}
