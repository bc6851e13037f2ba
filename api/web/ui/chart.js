// A chart of the last two minutes: axes with units, a legend with the present values, and
// a crosshair for pointer and arrow keys.

import { el, setAttribute, setText, svg } from "./dom.js";
import { line } from "./spark.js";

const margins = { top: 10, right: 12, bottom: 22, left: 78 };
const height = 190;
const labelWidth = 56; // of a time below the axis, with its distance to the next

// niceTop returns the end of the axis and its step: 1, 2 or 5 times a power of ten.
function scale(highest) {
  const rough = highest / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999);
  return { step, top: Math.ceil((highest / step) * 0.999) * step };
}

const ago = (seconds) => (seconds === 0 ? "now" : `−${Math.floor(seconds / 60)}:${String(Math.round(seconds % 60)).padStart(2, "0")}`);

export class Chart {
  // lines: {name, className}; text(value) formats a value with its unit; least is the
  // lowest end of the axis, so that small values look small.
  constructor({ title, lines, text, least, hint }) {
    Object.assign(this, { title, lines, text, least });
    this.lists = lines.map(() => []);
    this.step = 1;
    this.cross = -1;
    this.values = lines.map(() => el("span.value"));
    const legend = el("div.legend", {}, ...lines.map((l, i) =>
      el("span.key", {}, svg("svg.swatch", { viewBox: "0 0 18 4", width: 18, height: 4, "aria-hidden": "true" },
        svg("path", { class: `line ${l.className}`, d: "M0 2H18" })), el("span", {}, l.name), this.values[i])));
    this.when = el("span.when");
    this.grid = svg("g.axis");
    this.paths = lines.map((l) => svg("path", { class: `line ${l.className}`, fill: "none" }));
    this.hair = svg("path.hair");
    this.plot = svg("svg.plot", { role: "img", tabindex: "0", height }, this.grid, ...this.paths, this.hair);
    this.node = el("figure.chart", { title: hint ?? null },
      el("figcaption", {}, el("h3", {}, title), this.when), legend, this.plot);
    this.listen();
  }

  listen() {
    this.plot.addEventListener("pointermove", (event) => {
      const box = this.plot.getBoundingClientRect();
      const share = (event.clientX - box.left - margins.left) / (box.width - margins.left - margins.right);
      this.point(Math.round(share * (this.length() - 1)));
    });
    this.plot.addEventListener("pointerleave", () => this.point(-1));
    this.plot.addEventListener("blur", () => this.point(-1));
    this.plot.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by || this.length() === 0) return;
      event.preventDefault();
      this.point(Math.max(0, (this.cross < 0 ? this.length() - 1 : this.cross) + by));
    });
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  length() {
    return this.lists[0].length;
  }

  point(at) {
    this.cross = at >= 0 && at < this.length() ? at : -1;
    this.draw();
  }

  // set takes one list per line, oldest first, and the texts of the legend without
  // crosshair.
  set(lists, now, step) {
    this.lists = lists;
    this.now = now;
    this.step = step;
    this.draw();
  }

  draw() {
    const width = this.plot.clientWidth;
    if (width === 0 || !this.now) return;
    const wide = width - margins.left - margins.right;
    const high = height - margins.top - margins.bottom;
    let highest = this.least;
    for (const list of this.lists) for (const value of list) if (value > highest) highest = value;
    const { step, top } = scale(highest);
    setAttribute(this.plot, "viewBox", `0 0 ${width} ${height}`);
    this.axes(width, wide, high, step, top);
    this.paths.forEach((path, i) => {
      setAttribute(path, "d", line(this.lists[i], top, wide, high));
      setAttribute(path, "transform", `translate(${margins.left} ${margins.top})`);
    });
    this.readout(wide, high);
  }

  axes(width, wide, high, step, top) {
    // In most seconds only the lines change, and not the axes.
    const drawn = [width, step, top, this.length(), this.step].join();
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const parts = [];
    for (let value = 0; value <= top * 1.001; value += step) {
      const y = margins.top + high - (value / top) * high;
      parts.push(svg("path", { d: `M${margins.left} ${y}H${margins.left + wide}`, class: value === 0 ? "zero" : "rule" }),
        svg("text", { x: margins.left - 8, y: y + 4, "text-anchor": "end" }, value === 0 ? "0" : this.text(value)));
    }
    const span = (this.length() - 1) * this.step;
    const apart = (wide * 30) / span < labelWidth ? 60 : 30;
    for (let back = 0; span > 0 && back <= span + 1; back += apart) {
      const x = margins.left + wide - (Math.min(back, span) / span) * wide;
      const anchor = back === 0 ? "end" : back >= span ? "start" : "middle";
      parts.push(svg("text", { x, y: height - 5, "text-anchor": anchor }, ago(back)));
    }
    this.grid.replaceChildren(...parts);
  }

  readout(wide, high) {
    const at = this.cross;
    const values = at < 0 ? this.now : this.lists.map((list) => list[at]);
    values.forEach((value, i) => setText(this.values[i], this.text(value)));
    setText(this.when, at < 0 ? "now" : ago((this.length() - 1 - at) * this.step));
    const x = margins.left + (at / Math.max(1, this.length() - 1)) * wide;
    setAttribute(this.hair, "d", at < 0 ? "" : `M${x} ${margins.top}v${high}`);
    setAttribute(this.plot, "aria-label", `${this.title}, two minutes. Now: ${this.lines.map((l, i) => `${l.name} ${this.text(this.now[i])}`).join(", ")}`);
  }
}
