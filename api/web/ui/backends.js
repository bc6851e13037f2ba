// The list of backends: health, sessions and traffic.

import { address, el, keyed, setAddress, setAttribute, setStyle, setText } from "./dom.js";
import { bitrate, count, counted, moment } from "./numbers.js";
import * as relay from "./relay.js";

// health returns one word, which is also a class name.
export function health(b) {
  // A late backend is not alive either, but late says more.
  if (b.late) return "late";
  if (!b.alive) return "down";
  if (b.removed) return "removed";
  if (b.draining) return "draining";
  if (b.returning) return "returning";
  return b.ejected ? "ejected" : "alive";
}

const healthHints = {
  alive: "Takes new streams",
  late: "Its heartbeat is overdue: no new streams, what runs there goes on",
  draining: "No new streams, by the operator's wish; what runs there goes on",
  removed: "Not in the configuration any more: no new streams, and gone with its last session",
  ejected: "Failed its callers as others do not: no new streams while others can take them; what runs there goes on",
  returning: "Was ejected; a few new streams try it",
  down: "Does not answer",
};

export class BackendList {
  // chosen(id) is called when a backend is pressed, to show only its streams.
  // confirmation asks before one is drained, and again() is called afterwards.
  constructor(host, { chosen, confirmation, again }) {
    Object.assign(this, { chosen, confirmation, again });
    this.host = el("ul.backends");
    this.none = el("p.empty", { hidden: true }, "No backend is known. Name one with --backend, or let one register.");
    host.append(this.host, this.none);
    this.only = "";
  }

  set(list) {
    this.draining = new Set(list.backends.filter((b) => b.draining).map((b) => b.id));
    const most = Math.max(1, ...list.backends.map((b) => b.bitrate_bps ?? 0));
    setAttribute(this.none, "hidden", list.backends.length > 0);
    keyed(this.host, list.backends, (b) => b.id, (b) => this.make(b), (node, b) => this.fill(node, b, most));
  }

  mark(only) {
    this.only = only;
    for (const node of this.host.children) setAttribute(node.firstElementChild, "aria-pressed", String(node.dataset.key === only));
  }

  make(b) {
    const press = el("button.backend", { type: "button", "aria-pressed": String(b.id === this.only), onclick: () => this.chosen(b.id) },
      el("span.dot"), el("span.name.address", {}, ...address()), el("span.health"), el("span.rate"), el("span.bar", { "aria-hidden": "true" }, el("span")), el("span.detail"));
    return el("li", {}, press, el("button.drain", { type: "button", onclick: () => this.askToDrain(b.id) }));
  }

  askToDrain(id) {
    const drain = !this.draining.has(id);
    this.confirmation.ask({
      title: drain ? `Drain ${id}?` : `Give ${id} new streams again?`, no: "Cancel", yes: drain ? "Drain" : "Undrain",
      text: drain
        ? "It gets no new streams, from this relay and from all that share its Redis, until you undrain it. What runs there goes on, and new players of its streams still go there."
        : "It gets new streams again, from this relay and from all that share its Redis, as its health allows.",
      gone: "The relay does not know this backend any more.",
      call: () => relay.drain(id, drain), done: this.again,
    });
  }

  fill(node, b, most) {
    const [press, drain] = node.children;
    setText(drain, b.draining ? "Undrain…" : "Drain…");
    setAttribute(drain, "aria-label", `${b.draining ? "Undrain" : "Drain"} ${b.id}`);
    const [, name, state, rate, bar, detail] = press.children;
    const word = health(b);
    setAttribute(press, "data-health", word);
    setAddress(name, b.id);
    setText(state, word);
    setAttribute(state, "title", healthHints[word]);
    setText(rate, bitrate(b.bitrate_bps));
    setStyle(bar.firstElementChild, "width", `${(((b.bitrate_bps ?? 0) / most) * 100).toFixed(1)}%`);
    setText(detail, b.problem || `${counted(b.sessions, "session")}, ${counted(b.streams, "stream")}`);
    setAttribute(press, "title", [
      b.id === b.address || !b.address ? b.id : `${b.id} at ${b.address}`, healthHints[word], b.problem ?? "", `${count(b.sessions)} sessions, ${count(b.streams)} streams`,
      b.ejected_because ? `Ejected: ${b.ejected_because}; until ${moment(b.ejected_until)}` : "",
      `Weight ${b.weight}${b.configured_weight ? ` (ordered; configured ${b.configured_weight})` : ""}, ${b.source}`, b.ordered_by ? `Last ordered at relay ${b.ordered_by}` : "", b.server ? `Server ${b.server}` : "", b.updated_at ? `Last heard ${moment(b.updated_at)}` : "",
      "Press to see its streams alone",
    ].filter(Boolean).join("\n"));
  }
}
