// Plots as SVG, made without a browser: Vega-Lite says what is drawn, Vega draws it.
//
// They are read on white pages and on dark ones, so the background is white, always. The colours are Okabe and Ito's:
// people who see some colours alike can tell these apart.

import * as vega from 'vega';
import { compile } from 'vega-lite';

/** In the order of series that are given no others. */
export const COLOURS = ['#d55e00', '#0072b2', '#009e73', '#999999', '#cc79a7', '#e69f00', '#56b4e9'];
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

const CONFIG = {
  background: 'white',
  padding: 16,
  font: FONT,
  title: { anchor: 'start', fontSize: 16, subtitleFontSize: 12, subtitleColor: '#555', offset: 16 },
  axis: { labelFontSize: 12, titleFontSize: 12, titleFontWeight: 'normal', gridColor: '#e4e4e4', labelLimit: 600 },
  legend: { labelFontSize: 12, labelLimit: 400, title: null, orient: 'top', symbolType: 'square', symbolSize: 120 },
  view: { stroke: null },
};

/**
 * Horizontal bars on a log scale, grouped by category. `values` are { category, series, value }; where `value` is
 * undefined, "failed" stands in the place of the bar.
 */
export function bars({ title, subtitle, axis, series, colours, values }) {
  const there = values.filter(({ value }) => value > 0);
  const missing = values.filter(({ value }) => !(value > 0));
  // A log scale has no zero to stand on: the bars begin at a round number below all of them.
  const lowest = 10 ** Math.floor(Math.log10(Math.min(...there.map(({ value }) => value)) * 0.999));
  const highest = Math.max(...there.map(({ value }) => value)) * 1.6;
  const y = { field: 'category', type: 'nominal', sort: unique(values, 'category'), title: null };
  const yOffset = { field: 'series', sort: series };
  const rows = unique(values, 'category').length;
  const text = { align: 'left', dx: 4, fontSize: 10, color: '#333' };
  return svg({
    title: { text: title, subtitle },
    width: 560,
    height: rows * (series.length * 15 + 16),
    encoding: { y: { ...y, axis: { grid: false, domain: false, ticks: false, labelPadding: 8 } }, yOffset },
    layer: [
      {
        data: { values: there },
        mark: { type: 'bar', height: { band: 0.92 } },
        encoding: {
          x: {
            field: 'value',
            type: 'quantitative',
            title: axis,
            ...logScale([lowest, highest]),
          },
          x2: { datum: lowest },
          color: colour(series, colours),
        },
      },
      {
        data: { values: there.map((row) => ({ ...row, label: short(row.value) })) },
        mark: { type: 'text', ...text },
        encoding: { x: { field: 'value', type: 'quantitative' }, text: { field: 'label' } },
      },
      {
        data: { values: missing },
        mark: { type: 'text', ...text, fontStyle: 'italic' },
        encoding: { x: { datum: lowest }, text: { value: 'failed' } },
      },
    ],
  });
}

/** Lines with both axes logarithmic. `values` are { x, y, series }; those that are not above zero are left out. */
export function lines({ title, subtitle, xAxis, yAxis, series, colours, values }) {
  const there = values.filter(({ x, y }) => x > 0 && y > 0);
  const log = (field, title) => {
    return { field, type: 'quantitative', title, ...logScale(decadesAround(there.map((row) => row[field]))) };
  };
  return svg({
    title: { text: title, subtitle },
    width: 560,
    height: 320,
    data: { values: there },
    mark: { type: 'line', point: { size: 45, filled: true }, strokeWidth: 2 },
    encoding: { x: log('x', xAxis), y: log('y', yAxis), color: colour(series, colours) },
  });
}

function colour(series, range = COLOURS) {
  const legend = series.length > 1 ? {} : null;
  return { field: 'series', type: 'nominal', scale: { domain: series, range }, sort: series, legend };
}

/** A log scale and its axis. Vega's own choice of numbers on it is hard to read: 0.5, 0.9, 4, 8, 30. */
function logScale(domain) {
  const decades = Math.log10(domain[1] / domain[0]);
  const within = decades > 3.2 ? [1] : [1, 2, 5];
  const values = [];
  for (let power = Math.floor(Math.log10(domain[0])); power <= Math.log10(domain[1]); power += 1) {
    // As text first: 10 ** -1 * 2 is not quite 0.2.
    values.push(...within.map((digit) => Number(`${digit}e${power}`)).filter((at) => at >= domain[0] && at <= domain[1]));
  }
  // The format has SI prefixes: k is good, but 100m is hard to read as a tenth.
  const labelExpr = "datum.value < 1 ? toString(datum.value) : format(datum.value, '~s')";
  return { scale: { type: 'log', domain, nice: false }, axis: { values, labelExpr } };
}

/** From one power of ten to another, with all of these between. */
function decadesAround(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)].map(Math.log10);
  return [10 ** Math.floor(low), 10 ** Math.max(Math.ceil(high), Math.floor(low) + 1)];
}

function short(value) {
  return value >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(2)));
}

function unique(values, field) {
  return [...new Set(values.map((value) => value[field]))];
}

async function svg(specification) {
  const { spec } = compile({ ...specification, config: CONFIG });
  const view = new vega.View(vega.parse(spec), { renderer: 'none', logLevel: vega.Error });
  const text = await view.toSVG();
  view.finalize();
  return text;
}
