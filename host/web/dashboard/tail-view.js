// @ts-check
/**
 * What happens in rooms, line by line, as it happens. It keeps the last lines and says how many are missing. The reader
 * can stop it for a moment to read, and show only some lines.
 */

import { lines } from "./api.js";
import { bytes, duration, fill, h, name, number, roomLink, userLink, visible } from "./dom.js";
import { counted, field, select, textInput } from "./forms.js";
import { placeOf } from "./rooms-api.js";

/** The most lines that are kept. Older ones are dropped. */
const KEPT_LINES = 1_000;
/** The most characters of a line that are shown. */
const LINE_CHARACTERS = 2_000;

/** The kinds of lines, with their labels. @type {[string, string][]} */
const KINDS = [
  ["", "All lines"],
  ["turn", "Turns"],
  ["migration", "Migrations"],
  ["failure", "Failures"],
  ["commit", "Commits"],
  ["log", "Log lines"],
];

/**
 * @typedef {{ type: string, time?: number, room?: string, event?: string, user?: string | null, bytes?: number,
 *   cpuMicros?: number, outputs?: number, commit?: number, refused?: string | null, from?: number, to?: number, error?: string, turns?: number,
 *   micros?: number, level?: string, line?: string, lines?: number, node?: number, address?: string,
 *   notFollowed?: string }} TailLine
 */

export class TailView {
  /** The last lines, the oldest first. @type {TailLine[]} */
  #kept = [];
  /** Lines that came since the last frame, or while the view is paused. @type {TailLine[]} */
  #waiting = [];
  /** Lines that the server could not send in time. */
  #lost = 0;
  /** Lines that were dropped here because newer ones came. */
  #dropped = 0;
  /** @type {AbortController | undefined} */
  #running;
  #isPaused = false;
  #frame = 0;
  #problem = "";
  #query;
  #showsRoom;
  #leaving;
  #start = h("button", { type: "button", class: "primary" }, "Start");
  #pause = h("button", { type: "button", disabled: true }, "Pause");
  #clear = h("button", { type: "button" }, "Clear");
  #filter = textInput({ type: "search" });
  #kind = select(KINDS);
  #state = h("p", { class: "soft tail-state", role: "status" });
  #counts = h("p", { class: "soft tail-counts" });
  #list = h("ol");
  // Lines are not read out: there may be hundreds a second.
  #scroller = h(
    "div",
    { class: "tail-lines", role: "log", "aria-live": "off", "aria-label": "Lines", tabindex: 0 },
    this.#list,
  );

  /**
   * @param {import("./api.js").Query} query Selects the lines: `room` or `user`.
   * @param {AbortSignal} leaving Ends the tail with the page.
   */
  constructor(query, leaving) {
    this.#query = query;
    this.#showsRoom = query.room === undefined;
    this.#leaving = leaving;
    this.element = h(
      "section",
      { class: "card tail", "aria-labelledby": "tail-title" },
      h("h2", { id: "tail-title" }, "Live tail"),
      h(
        "div",
        { class: "filters" },
        h("div", { class: "actions" }, this.#start, this.#pause, this.#clear),
        field("tail-kind", "Kind", this.#kind),
        field("tail-filter", "Only lines with", this.#filter),
      ),
      this.#state,
      this.#scroller,
      this.#counts,
    );
    this.#start.addEventListener("click", () => (this.#running ? this.#running.abort() : void this.#run()));
    this.#pause.addEventListener("click", () => {
      this.#isPaused = !this.#isPaused;
      this.#flush();
      this.#tell();
    });
    this.#clear.addEventListener("click", () => {
      this.#kept = [];
      this.#waiting = [];
      this.#lost = this.#dropped = 0;
      this.#showAll();
    });
    this.#filter.addEventListener("input", () => this.#showAll());
    this.#kind.addEventListener("change", () => this.#showAll());
    leaving.addEventListener("abort", () => cancelAnimationFrame(this.#frame), { once: true });
    this.#tell();
  }

  async #run() {
    const running = new AbortController();
    this.#running = running;
    this.#isPaused = false;
    this.#problem = "";
    this.#tell();
    try {
      await lines("/tail", this.#query, (line) => this.#take(line), AbortSignal.any([running.signal, this.#leaving]));
      this.#problem = "The server has ended the tail.";
    } catch (error) {
      if (!running.signal.aborted) this.#problem = error instanceof Error ? error.message : String(error);
    }
    this.#running = undefined;
    if (this.#leaving.aborted) return;
    this.#isPaused = false;
    this.#flush();
    this.#tell();
  }

  /** @param {TailLine} line */
  #take(line) {
    if (line.type === "alive") return;
    if (line.type === "lost") this.#lost += line.lines ?? 0;
    this.#waiting.push(line);
    if (this.#waiting.length > KEPT_LINES) {
      this.#waiting.shift();
      this.#dropped += 1;
    }
    if (this.#frame !== 0) return;
    // A page in the background has no frames; what waits is bounded.
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#flush();
      if (this.#isPaused) this.#tell();
    });
  }

  /** Shows the lines that wait, unless the reader has paused. */
  #flush() {
    if (this.#isPaused || this.#waiting.length === 0) return;
    const isAtEnd = this.#scroller.scrollHeight - this.#scroller.scrollTop - this.#scroller.clientHeight < 24;
    this.#kept.push(...this.#waiting);
    this.#list.append(...this.#waiting.filter((line) => this.#wants(line)).map((line) => this.#shown(line)));
    this.#waiting = [];
    const extra = this.#kept.length - KEPT_LINES;
    if (extra > 0) {
      const gone = this.#kept.splice(0, extra);
      this.#dropped += extra;
      for (const line of gone) if (this.#wants(line)) this.#list.firstElementChild?.remove();
    }
    if (isAtEnd) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#count();
  }

  #showAll() {
    fill(
      this.#list,
      this.#kept.filter((line) => this.#wants(line)).map((line) => this.#shown(line)),
    );
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#count();
  }

  /** @param {TailLine} line */
  #wants(line) {
    if (line.type === "lost") return true;
    if (this.#kind.value !== "" && this.#kind.value !== line.type) return false;
    const wanted = this.#filter.value.trim().toLowerCase();
    if (wanted === "") return true;
    const texts = [line.type, line.event, line.user, line.room, line.level, line.line, line.error, line.refused];
    return texts.some((text) => text && visible(text).toLowerCase().includes(wanted));
  }

  /** @param {TailLine} line */
  #shown(line) {
    const at = line.time === undefined ? "" : new Date(line.time).toISOString().slice(11, 23);
    const isBad = line.type === "failure" || line.type === "lost" || line.level === "error";
    return h(
      "li",
      { "data-kind": isBad ? "bad" : line.type },
      h("span", { class: "tail-time" }, at),
      " ",
      h("span", { class: "tail-kind" }, line.type),
      " ",
      this.#showsRoom && line.room ? [roomLink(placeOf(line.room)), " "] : [],
      told(line),
    );
  }

  #tell() {
    const isRunning = this.#running !== undefined;
    fill(this.#start, isRunning ? "Stop" : "Start");
    this.#start.className = isRunning ? "" : "primary";
    this.#pause.disabled = !isRunning;
    fill(this.#pause, this.#isPaused ? "Resume" : "Pause");
    let text = this.#problem || "It is stopped. It shows what happens from the start on.";
    if (isRunning) text = this.#isPaused ? `Paused; ${number(this.#waiting.length)} waiting.` : "It runs.";
    if (this.#state.textContent !== text) fill(this.#state, text);
    this.#count();
  }

  #count() {
    const shown = this.#list.childElementCount;
    const parts = [
      `${number(shown)} of ${number(this.#kept.length)} lines shown, the last ${number(KEPT_LINES)} are kept`,
    ];
    if (this.#dropped > 0) parts.push(`${number(this.#dropped)} older ones dropped`);
    parts.push(`${number(this.#lost)} lost because this page was too slow`);
    fill(this.#counts, parts.join("; "), ".");
  }
}

/**
 * A line in words.
 *
 * @param {TailLine} line
 * @returns {import("./dom.js").Child[]}
 */
function told(line) {
  const of = line.user ? [" of ", userLink(line.user)] : [];
  const cpu = `${duration((line.cpuMicros ?? 0) / 1e6)} CPU`;
  switch (line.type) {
    case "turn": {
      const facts = [bytes(line.bytes), cpu, counted(line.outputs ?? 0, "output"), `commit ${line.commit}`];
      const refused = line.refused ? [", refused: ", name(line.refused, { most: LINE_CHARACTERS })] : [];
      return [line.event, ...of, `: ${facts.join(", ")}`, ...refused];
    }
    case "migration":
      return [`data migrated from version ${line.from} to ${line.to} with ${cpu}`];
    case "failure":
      return [line.event, ...of, ` failed after ${cpu}: `, name(line.error ?? "", { most: LINE_CHARACTERS })];
    case "commit":
      return [
        `${line.commit} with ${counted(line.turns ?? 0, "turn")} is on disk after ${duration((line.micros ?? 0) / 1e6)}`,
      ];
    case "log":
      return [`${line.level}: `, name(line.line ?? "", { most: LINE_CHARACTERS })];
    case "lost":
      return [`Missing here: ${counted(line.lines ?? 0, "line")}, because this page was too slow`];
    case "node":
      return [`Node ${line.node} (`, name(line.address ?? ""), ") is not followed now: ", name(line.notFollowed ?? "")];
    default:
      return [];
  }
}
