// The table of streams. The relay sorts and filters. The page asks only for the visible
// rows, with a minute of their history, so that ten thousand streams cost no more than
// fifty.

import { address, byID, el, setAddress, setAttribute, setText } from "./dom.js";
import { Grid } from "./grid.js";
import { bitrate, count, counted, millis, percent } from "./numbers.js";
import * as relay from "./relay.js";
import { keyText, streamLink } from "./route.js";
import { drawSpark, spark } from "./spark.js";
import { level } from "./verdict.js";

const historySeconds = 60;
// The relay's limit for one answer.
const mostRows = 1000;
// How long after a key the relay is asked, when the word is probably complete.
const typing = 150;

const columns = [
  { id: "key", title: "Stream", sort: "key", hint: "Sort by name", className: "c-key" },
  { id: "backend", title: "Backend", className: "c-backend" },
  { id: "sessions", title: "Sessions", sort: "sessions", hint: "Sort by sessions; publishers and players", className: "c-sessions" },
  { id: "bitrate", title: "Bitrate in / out", sort: "bitrate", hint: "Sort by bitrate; from publishers / to players", className: "c-bitrate" },
  { id: "rtt", title: "RTT caller / backend", sort: "rtt", hint: "Sort by RTT of the worst session; caller’s network / yours", className: "c-rtt" },
  { id: "loss", title: "Loss caller / backend", sort: "loss", hint: "Sort by loss of the worst session; caller’s network / yours", className: "c-loss" },
];

// The direction of each of the relay's orders. The page reverses one by counting from the
// end.
const natural = { key: "ascending", bitrate: "descending", rtt: "descending", loss: "descending", sessions: "descending" };

export class StreamTable {
  // again() is called when the query has changed, to ask soon.
  constructor(again) {
    this.again = again;
    this.sort = "bitrate";
    this.reverse = false;
    this.match = "";
    this.backend = "";
    this.loaded = { first: 0, count: 0 };
    this.tally = byID("streams-count");
    this.empty = byID("streams-empty");
    this.grid = new Grid(byID("streams"), {
      label: "Streams", columns, make, fill,
      key: (s) => s.key,
      open: (s) => { location.hash = streamLink(s.key); },
      viewed: () => this.viewed(),
      sorted: (by) => this.sortBy(by),
    });
    this.showSort();
    this.filter = byID("filter");
    this.filter.addEventListener("input", () => {
      clearTimeout(this.typed);
      this.typed = setTimeout(() => this.show({ match: this.filter.value.trim() }), typing);
    });
  }

  // show changes the query and scrolls to the top.
  show(change) {
    Object.assign(this, change);
    this.grid.host.scrollTop = 0;
    this.again();
  }

  sortBy(by) {
    this.reverse = by === this.sort && !this.reverse;
    this.sort = by;
    this.showSort();
    this.show({});
  }

  showSort() {
    const direction = natural[this.sort];
    const other = direction === "ascending" ? "descending" : "ascending";
    this.grid.setSort(this.sort, this.reverse ? other : direction);
  }

  // viewed asks at once for rows that have become visible, without waiting for the next
  // round.
  viewed() {
    if (!this.grid) return;
    const { first, count: wanted } = this.grid.inSight();
    const last = Math.min(first + wanted, this.grid.total);
    if (this.asking || (first >= this.loaded.first && last <= this.loaded.first + this.loaded.count)) return;
    this.asking = true;
    this.again();
  }

  // refresh asks for the visible rows and draws them.
  async refresh(signal) {
    this.asking = true;
    try {
      const { first, count: wanted } = this.grid.inSight();
      const limit = Math.min(mostRows, wanted);
      const asked = { sort: this.sort, q: this.match, backend: this.backend, limit, history: historySeconds };
      const list = await this.ask(asked, first, signal);
      this.loaded = { first: list.first, count: list.streams.length };
      this.asking = false;
      this.grid.set(list.streams, list.first, list.total);
      this.tell(list.total);
      return list.total;
    } finally {
      this.asking = false;
    }
  }

  // ask asks for rows. To reverse the order it counts from the end, for which the length of
  // the list must be known and must not have changed in the answer.
  async ask(asked, first, signal) {
    if (!this.reverse) {
      const list = await relay.streams({ ...asked, offset: first }, signal);
      return { first, ...list };
    }
    const offset = Math.max(0, this.grid.total - first - asked.limit);
    const list = await relay.streams({ ...asked, offset }, signal);
    const streams = list.streams.slice().reverse();
    return { ...list, streams, first: Math.max(0, list.total - offset - streams.length) };
  }

  tell(total) {
    const filtered = this.match !== "" || this.backend !== "";
    setText(this.tally, count(total));
    setAttribute(this.tally, "title", filtered ? `${counted(total, "stream")} of this filter` : counted(total, "stream"));
    setAttribute(this.empty, "hidden", total > 0);
    setText(this.empty, filtered ? "No stream fits the filter." : "No stream goes through the relay at present.");
  }
}

// pair returns two numbers, a divider and a sparkline of both.
function pair(className, first, second) {
  const line = spark(first, second);
  const a = el("span.a");
  const b = el("span.b");
  return { node: el(`div.cell.${className}`, {}, el("span.pair", {}, a, el("span.slash", {}, " / "), b), line.node), a, b, line };
}

function make(row) {
  const link = el("a.key", { tabindex: "-1" });
  const lock = el("span.lock", { title: "Encrypted", hidden: true }, "AES");
  const backend = el("div.cell.c-backend.address", {}, ...address());
  const sessions = el("div.cell.c-sessions");
  const rate = pair("c-bitrate", "in", "out");
  const rtt = pair("c-rtt", "caller", "backend");
  const loss = pair("c-loss", "caller", "backend");
  row.append(el("div.cell.c-key", {}, link, lock), backend, sessions, rate.node, rtt.node, loss.node);
  return { link, lock, backend, sessions, rate, rtt, loss };
}

function fill(parts, s) {
  setText(parts.link, keyText(s.key));
  setAttribute(parts.link, "href", streamLink(s.key));
  setAttribute(parts.link, "title", s.key);
  setAttribute(parts.lock, "hidden", !s.encrypted);
  setAddress(parts.backend, s.backend.id);
  setAttribute(parts.backend, "title", `${s.backend.id} at ${s.backend.address}`);
  setText(parts.sessions, count(s.sessions));
  setAttribute(parts.sessions, "title", `${counted(s.publishers, "publisher")}, ${counted(s.players, "player")}`);
  const h = s.history ?? {};
  two(parts.rate, bitrate(s.bitrate_in_bps), bitrate(s.bitrate_out_bps), [h.bitrate_in_bps, h.bitrate_out_bps], 1000);
  two(parts.rtt, millis(s.caller_rtt_ms), millis(s.backend_rtt_ms), [h.caller_rtt_ms, h.backend_rtt_ms], 5);
  two(parts.loss, percent(s.caller_loss_percent), percent(s.backend_loss_percent), [h.caller_loss_percent, h.backend_loss_percent], 0.5);
  setAttribute(parts.loss.a, "data-level", level(s.caller_loss_percent));
  setAttribute(parts.loss.b, "data-level", level(s.backend_loss_percent));
}

function two(part, first, second, lists, least) {
  setText(part.a, first);
  setText(part.b, second);
  drawSpark(part.line, lists, least);
}
