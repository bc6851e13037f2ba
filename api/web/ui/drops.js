// Why datagrams were dropped: every reason with a count, and what it means.

import { el, keyed, setAttribute, setText } from "./dom.js";
import { count, rate } from "./numbers.js";
import { Pace } from "./pace.js";

// A reason that is not in this list is shown by its name alone.
const meanings = {
  kernel_drops: "The kernel's receive buffer was full: the shard could not keep up",
  truncated: "Larger than the receive buffer",
  short: "Fewer than the 16 bytes of an SRT header",
  not_handshake: "Sent to the listener without a handshake",
  malformed: "A handshake too short, or with impossible fields",
  rendezvous: "Rendezvous mode, which no listener serves",
  cookie: "A stale or forged cookie",
  foreign_caller: "No session for this caller and socket ID",
  letters_full: "For a session of another shard, which had too many waiting",
  unvalidated: "From a new address of a session's caller, before it has proven itself",
  foreign_backend: "No session for this backend and socket ID",
  duplicate: "A handshake that was answered already",
  early: "Media before the handshake was complete",
  closed: "For a session that ended moments ago",
  bad_reply: "A backend's reply that fits no request",
  busy: "The resolver was full; the caller tries again",
  send_buffer_full: "The socket's send buffer stayed full",
  send_too_big: "Larger than the path's MTU",
  send_unreachable: "No route, or refused by policy",
  send_failed: "Any other error on sending",
};

// Drops of these reasons are normal: they come with every stream that ends, or from anyone
// on the internet.
const grave = new Set(["kernel_drops", "busy", "send_buffer_full", "send_too_big", "send_unreachable", "send_failed"]);

export class DropTable {
  constructor(host) {
    this.pace = new Pace();
    this.rows = el("tbody");
    this.none = el("p.empty");
    this.table = el("table.drops", {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Reason"),
        el("th.number", { scope: "col" }, "Now"), el("th.number", { scope: "col" }, "Since start"))), this.rows);
    host.append(this.table, this.none);
  }

  // set takes the answer of /shards.
  set({ total, taken_at }) {
    const all = Object.entries({ kernel_drops: total.kernel_drops, ...total.drops, ...total.send_drops });
    this.pace.update(all, taken_at);
    const counted = all.filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
    setAttribute(this.table, "hidden", counted.length === 0);
    setText(this.none, counted.length === 0 ? "Nothing has been dropped."
      : `The other ${all.length - counted.length} reasons have not occurred.`);
    keyed(this.rows, counted, ([name]) => name, ([name]) => row(name), (node, [name, n]) => {
      const now = this.pace.of(name);
      setText(node.children[1], now === undefined ? "–" : now === 0 ? "0" : `${rate(now)}/s`);
      setText(node.children[2], count(n));
      node.classList.toggle("active", now > 0);
    });
  }
}

function row(name) {
  const reason = el("th", { scope: "row", title: meanings[name] ?? null }, el("code", {}, name), el("span.meaning", {}, meanings[name] ?? ""));
  return el(grave.has(name) ? "tr.grave" : "tr", {}, reason, el("td.number"), el("td.number"));
}
