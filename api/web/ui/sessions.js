// The table of one stream's sessions, which may be a thousand.

import { address, el, setAddress, setAttribute, setStyle, setText } from "./dom.js";
import { Grid } from "./grid.js";
import { bitrate, count, duration, millis, percent } from "./numbers.js";
import { sessionLink } from "./route.js";
import { level } from "./verdict.js";

// mediaWay returns the way of a session that carries its media.
export const mediaWay = (s) => (s.role === "publisher" ? s.to_backend : s.to_caller);

const columns = [
  { title: "Caller", className: "s-caller", sort: "caller", hint: "Sort by role and address" },
  { title: "For", className: "s-age", sort: "age", hint: "Sort by how long connected" },
  { title: "Media", className: "s-rate", sort: "rate", hint: "Sort by bitrate of its media" },
  { title: "RTT caller / backend", className: "s-rtt", sort: "rtt", hint: "Sort by RTT of the caller’s network" },
  { title: "Loss caller / backend", className: "s-loss", sort: "loss", hint: "Sort by the greater loss of the last second" },
  { title: "Repeated", className: "s-again", sort: "again", hint: "Sort by retransmitted packets of its media" },
  { title: "Dropped", className: "s-dropped", sort: "dropped", hint: "Sort by packets given up as too late" },
];

const orders = {
  caller: (a, b) => b.role.localeCompare(a.role) || a.caller.localeCompare(b.caller), // publishers first
  age: (a, b) => b.age_seconds - a.age_seconds,
  rate: (a, b) => mediaWay(b).bitrate_bps - mediaWay(a).bitrate_bps,
  rtt: (a, b) => (b.caller_leg.rtt_ms ?? -1) - (a.caller_leg.rtt_ms ?? -1),
  loss: (a, b) => greater(b) - greater(a),
  again: (a, b) => mediaWay(b).retransmitted - mediaWay(a).retransmitted,
  dropped: (a, b) => mediaWay(b).dropped - mediaWay(a).dropped,
};
const greater = (s) => Math.max(s.caller_leg.loss_percent ?? -1, s.backend_leg.loss_percent ?? -1);

export class SessionTable {
  constructor(host) {
    this.list = [];
    this.by = "caller";
    this.reverse = false;
    this.grid = new Grid(host, {
      label: "Sessions of this stream", columns, make, fill,
      key: (s) => s.id,
      open: (s) => { location.hash = sessionLink(s.id); },
      sorted: (by) => {
        this.reverse = by === this.by && !this.reverse;
        this.by = by;
        this.set(this.list);
      },
    });
  }

  set(list) {
    this.list = list;
    const sorted = list.slice().sort(orders[this.by]);
    if (this.reverse) sorted.reverse();
    this.grid.setSort(this.by, (this.by === "caller") === this.reverse ? "descending" : "ascending");
    // As tall as its rows, up to the limit in the style sheet.
    setStyle(this.grid.host, "--rows", String(Math.max(3, sorted.length)));
    this.grid.set(sorted, 0, sorted.length);
  }
}

function make(row) {
  const role = el("span.role");
  const link = el("a.key.address", { tabindex: "-1" }, ...address());
  const cells = columns.slice(1).map((c) => el(`div.cell.${c.className}`));
  const caller = el("span.a");
  const backend = el("span.b");
  cells[3].append(el("span.pair", {}, caller, el("span.slash", {}, " / "), backend));
  row.append(el("div.cell.s-caller", {}, role, link), ...cells);
  const [age, rate, rtt, , again, dropped] = cells;
  return { role, link, age, rate, rtt, caller, backend, again, dropped };
}

function fill(p, s) {
  const way = mediaWay(s);
  setText(p.role, s.role);
  setAttribute(p.role, "data-role", s.role);
  setAddress(p.link, s.caller);
  setAttribute(p.link, "href", sessionLink(s.id));
  setAttribute(p.link, "title", `Session ${s.id}, ${s.state}, of ${s.caller}`);
  setText(p.age, s.state === "established" ? duration(s.age_seconds) : s.state);
  setText(p.rate, bitrate(way.bitrate_bps));
  setText(p.rtt, `${millis(s.caller_leg.rtt_ms)} / ${millis(s.backend_leg.rtt_ms)}`);
  setText(p.caller, percent(s.caller_leg.loss_percent));
  setText(p.backend, percent(s.backend_leg.loss_percent));
  setAttribute(p.caller, "data-level", level(s.caller_leg.loss_percent));
  setAttribute(p.backend, "data-level", level(s.backend_leg.loss_percent));
  setText(p.again, count(way.retransmitted));
  setText(p.dropped, count(way.dropped));
}
