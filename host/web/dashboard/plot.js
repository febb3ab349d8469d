// @ts-check
/** Plots over time: uPlot with the colours of the page, light and dark, and as wide as there is space. */

import { h } from "./dom.js";

/** The height of the drawing without its legend, in pixels. */
const HEIGHT = 150;

/** The times that a plot may have between two of its labels, in seconds: each label is another time of the day. */
const TIME_STEPS = [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600];

const POWERS = Array.from({ length: 50 }, (_, power) => 2 ** power);

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {(number | null)[]} values One for each time; null where there is none.
 */

/**
 * @typedef {object} Plot
 * @property {HTMLElement} element
 * @property {(times: number[], lines: Line[]) => void} show The times are Unix times in seconds.
 */

/** @param {string} name A property of the style sheet. */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** A time of the day. @param {number} seconds @param {boolean} [precise] */
function clock(seconds, precise = false) {
  /** @type {Intl.DateTimeFormatOptions} */
  const options = { hour: "2-digit", minute: "2-digit", ...(precise ? { second: "2-digit" } : {}) };
  return new Date(seconds * 1000).toLocaleTimeString([], options);
}

/**
 * A plot with a title, of one or two lines.
 *
 * @param {string} title
 * @param {(value: number | null) => string} format Shows a value, with its unit.
 * @param {AbortSignal} signal Ends the plot.
 * @param {{ binary?: boolean }} [options] `binary` for bytes: the axis has powers of two.
 * @returns {Plot}
 */
export function plot(title, format, signal, { binary = false } = {}) {
  const UPlot = /** @type {{ uPlot: typeof import("uplot") }} */ (/** @type {any} */ (globalThis)).uPlot;
  const frame = h("div", { class: "plot", "aria-hidden": "true" });
  const summary = h("figcaption", { class: "visually-hidden" });
  const element = h("figure", { class: "card" }, h("h2", {}, title), frame, summary);
  /** @type {import("uplot") | undefined} */
  let drawn;
  /** @type {[number[], Line[]]} */
  let last = [[], []];

  const draw = () => {
    drawn?.destroy();
    const [soft, grid] = [colour("--soft"), colour("--line")];
    const font = `12px ${colour("--sans")}`;
    const axis = { stroke: soft, font, grid: { stroke: grid, width: 1 }, ticks: { show: false } };
    drawn = new UPlot(
      {
        width: Math.max(frame.clientWidth, 200),
        height: HEIGHT,
        // The last label stands at the right edge.
        padding: [null, 40, null, null],
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
        scales: { y: { range: (_plot, _least, most) => [0, most > 0 ? most * 1.1 : 1] } },
        axes: [
          {
            ...axis,
            space: 90,
            size: 28,
            incrs: TIME_STEPS,
            // Without its seconds, a label would come again within the same minute.
            values: (_plot, splits, _axis, _space, step) => splits.map((at) => clock(at, step < 60)),
          },
          {
            ...axis,
            size: 64,
            space: 32,
            values: (_plot, splits) => splits.map((split) => format(split)),
            ...(binary ? { incrs: POWERS } : {}),
          },
        ],
        series: [
          {
            label: "Time",
            value: (_plot, at) => clock(at ?? last[0].at(-1) ?? 0, true),
          },
          ...last[1].map(({ label }, line) => ({
            label,
            stroke: colour(`--plot-${line + 1}`),
            width: 1.5,
            points: { show: false },
            // Without a pointer over the plot, the last value.
            value: (
              /** @type {unknown} */ _plot,
              /** @type {number | null} */ value,
              /** @type {number} */ _series,
              /** @type {number | null} */ at,
            ) => format(at === null ? (last[1][line]?.values.at(-1) ?? null) : value),
          })),
        ],
      },
      data(),
      frame,
    );
  };

  /** @returns {import("uplot").AlignedData} */
  const data = () => [last[0], ...last[1].map(({ values }) => values)];

  const resized = new ResizeObserver(() => drawn?.setSize({ width: Math.max(frame.clientWidth, 200), height: HEIGHT }));
  resized.observe(frame);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw, { signal });
  signal.addEventListener("abort", () => {
    resized.disconnect();
    drawn?.destroy();
  });

  return {
    element,
    show(times, lines) {
      last = [times, lines];
      const now = lines.map(({ label, values }) => `${label} ${format(values.at(-1) ?? null)}`);
      summary.textContent = `Now: ${now.join(", ")}`;
      if (drawn && drawn.series.length === lines.length + 1) drawn.setData(data());
      else draw();
    },
  };
}
