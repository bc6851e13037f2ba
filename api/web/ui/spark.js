// Sparklines: a minute of one or two lines without axes, beside their present value.

import { setAttribute, svg } from "./dom.js";

const width = 96;
const height = 26;
const rim = 2; // so that a line at the edge keeps its full breadth

export function spark(...lines) {
  const paths = lines.map((line) => svg("path", { class: `line ${line}`, fill: "none" }));
  const node = svg("svg.spark", { viewBox: `0 0 ${width} ${height}`, width, height, preserveAspectRatio: "none", "aria-hidden": "true" }, ...paths);
  return { node, paths };
}

// drawSpark draws the lists on one scale from 0 to their highest value, or to least if all
// are below it.
export function drawSpark({ paths }, lists, least) {
  let top = least;
  for (const list of lists) for (const value of list ?? []) if (value > top) top = value;
  paths.forEach((path, i) => setAttribute(path, "d", line(lists[i] ?? [], top, width, height, rim)));
}

// line returns the path of a list over the whole width. Seconds without a value are gaps. A
// single value between two gaps is a dot.
export function line(list, top, wide, high, edge = 0) {
  const step = list.length > 1 ? wide / (list.length - 1) : 0;
  let text = "";
  let drawing = false;
  for (let i = 0; i < list.length; i++) {
    const value = list[i];
    if (value === null || value === undefined) {
      drawing = false;
      continue;
    }
    const x = (i * step).toFixed(1);
    const y = (high - edge - (value / top) * (high - 2 * edge)).toFixed(1);
    text += drawing ? `L${x} ${y}` : `M${x} ${y}h.01`;
    drawing = true;
  }
  return text;
}
