// @ts-check
/**
 * The list of messages. It updates the document from a chat at most once a frame, and moves no element that is already
 * in its place.
 */

import { dayName } from "/client/view/days.js";
import { linesOf } from "/client/view/lines.js";
import { ScrollKeeper } from "/client/view/scroll-keeper.js";
import { byId, make } from "./dom.js";
import { makeRow, markDeleted, markRow, moderateRow, placeRow } from "./message-row.js";

/**
 * @typedef {import("/client/index.js").Chat} Chat
 * @typedef {import("/client/index.js").ChatMessage} ChatMessage
 * @typedef {import("/client/view/lines.js").Line} Line
 * @typedef {import("/client/view/lines.js").Me} Me
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
  /** @type {Map<string, string>} */
  #clientIdByMessageId = new Map();
  #unread = 0;
  #frame = 0;
  #holdsAnchor = false;
  /** @type {import("./message-row.js").ModeratorActions} */
  #moderatorActions = {
    remove: ({ id = "" }) => void this.#chat.deleteMessage(id).catch(() => this.#announce("Not deleted")),
    mute: (message, seconds) => void this.#mute(message, seconds),
  };

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
    // "Today" and "Yesterday" change at midnight while the page is open.
    document.addEventListener("visibilitychange", () => this.refresh(), { signal });

    const ended = [
      chat.on("state", () => this.refresh()),
      chat.on("pending", () => this.refresh()),
      chat.on("stored", ({ clientId, message }) => this.#clientIdByMessageId.set(message.id, clientId)),
      chat.on("messages", ({ added, from }) => this.#took(added, from)),
      chat.on("resync", () => this.#beganAnew()),
      chat.on("permissions", () => this.refresh()),
      chat.on("deleted", ({ message }) => this.#lost(message)),
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

  /** Scrolls to the end, because the user has sent a message. */
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

  /** @param {ChatMessage} message */
  #lost({ userName }) {
    this.#announce(`A message of ${userName} was deleted`);
    this.refresh();
  }

  #beganAnew() {
    this.#unread = 0;
    this.#scroll.toEnd();
    this.#announce("Much was said while you were away. These are the latest messages.");
  }

  async #loadOlder() {
    // Not disabled: that would remove the focus. The chat loads one page at a time in any case.
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
    if (this.#holdsAnchor) this.#scroll.pin(this.#list.querySelector(".bubble"));
    this.#holdsAnchor = false;
    this.#arrange();
    this.#older.hidden = !this.#chat.hasOlder;
    // Moves the focus before the button is hidden: otherwise the page would scroll to the top.
    if (this.#older.hidden && hadFocus) this.#scroller.focus({ preventScroll: true });
    this.#scroll.settle();
    this.#showEmpty();
    this.#showNewer();
  }

  #arrange() {
    const lines = linesOf(this.#chat, this.#me(), this.#clientIdByMessageId);
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
  #rowOf(line) {
    const known = this.#rows.get(line.key);
    const row = known ?? (line.kind === "message" ? makeRow(line.message) : make("li", { class: "day" }, make("span")));
    this.#rows.set(line.key, row);
    if (line.kind === "message") {
      placeRow(row, line);
      markDeleted(row, line.message);
      moderateRow(row, line, this.#chat.canModerate ? this.#moderatorActions : undefined);
      markRow(row, line.pending, {
        retry: (clientId) => this.#retry(clientId),
        discard: (clientId) => this.#chat.discard(clientId),
      });
    } else if (row.firstElementChild) {
      row.firstElementChild.textContent = dayName(line.day, Date.now());
    }
    return row;
  }

  /** @param {string} clientId */
  #retry(clientId) {
    this.#chat.retry(clientId).catch(() => this.#announce("Still not sent"));
  }

  /**
   * @param {import("/client/view/lines.js").ShownMessage} message
   * @param {number} seconds
   */
  async #mute({ userId, userName }, seconds) {
    try {
      await this.#chat.mute(userId, seconds);
      this.#announce(seconds === 0 ? `${userName} may send messages again` : `${userName} is muted`);
    } catch {
      this.#announce("Not muted");
    }
  }

  #showEmpty() {
    const { hasHistory, messages, pending, roomId, state } = this.#chat;
    this.#empty.hidden = messages.length + pending.length > 0;
    byId("empty-title").textContent = hasHistory
      ? `${roomId} is fast asleep`
      : state === "closed"
        ? "The door is shut"
        : "On the way to the room …";
    byId("empty-hint").textContent = hasHistory ? "Say something to wake it." : "";
  }

  #showNewer() {
    this.#newer.hidden = this.#scroll.follows;
    this.#newer.dataset.unread = String(this.#unread);
    this.#newer.textContent =
      this.#unread === 0 ? "To the latest" : this.#unread === 1 ? "1 new message" : `${this.#unread} new messages`;
  }
}
