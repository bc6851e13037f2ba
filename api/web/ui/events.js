// A list of events, the newest first, with a filter by kind.

import { el, keyed, setAttribute, setText } from "./dom.js";
import { bitrate, clock, count, day, duration, moment } from "./numbers.js";
import { keyText, sessionLink, streamLink } from "./route.js";

// The most elements in the document; the feed keeps more events, for filters.
const shown = 150;

// The chips of the filter, of several kinds each.
const groups = [
  { name: "begun", title: "Sessions that began", kinds: ["session-begun"] },
  { name: "ended", title: "Sessions that ended", kinds: ["session-ended"] },
  { name: "moved", title: "Sessions whose caller's address changed", kinds: ["session-migrated"] },
  { name: "rejected", title: "Callers that were rejected, publishers above their bitrate", kinds: ["caller-rejected", "more-rejected", "stream-over-limit"] },
  { name: "backends", title: "What became of backends", kinds: ["backend-gone", "backend-registered", "backend-changed", "backend-removed"] },
  { name: "relay", title: "The relay itself: rules, settings, overload, restarts, events that are missing", kinds: ["rules-changed", "config-reloaded", "overload-entered", "overload-left", "lost", "relay-restarted"] },
];

const groupOf = new Map(groups.flatMap((g) => g.kinds.map((kind) => [kind, g.name])));

export class EventList {
  // of(event) returns whether the event belongs in this list.
  constructor(host, { of = () => true } = {}) {
    this.of = of;
    this.off = new Set();
    this.all = [];
    this.chips = el("div.chips", { role: "group", "aria-label": "Kinds of events" }, ...groups.map((g) =>
      el("button.chip", { type: "button", "aria-pressed": "true", title: g.title, "data-kind": g.name, onclick: (event) => this.toggle(g.name, event.currentTarget) }, g.name)));
    this.list = el("ol");
    this.log = el("div.events", { role: "log", "aria-live": "off", tabindex: "0", "aria-label": "Events" }, this.list);
    this.none = el("p.empty", {}, "Nothing has happened lately.");
    host.append(this.chips, this.log, this.none);
  }

  toggle(name, chip) {
    if (!this.off.delete(name)) this.off.add(name);
    setAttribute(chip, "aria-pressed", String(!this.off.has(name)));
    this.draw();
  }

  set(all) {
    this.all = all;
    this.draw();
  }

  draw() {
    const list = [];
    let events = 0;
    let date = "";
    for (const event of this.all) {
      if (events === shown) break;
      if (!this.of(event) || this.off.has(groupOf.get(event.kind))) continue;
      if (day(event.time) !== date) {
        date = day(event.time);
        list.push({ date });
      }
      list.push(event);
      events++;
    }
    setAttribute(this.none, "hidden", list.length > 0);
    setText(this.none, this.off.size > 0 ? "No event of these kinds." : "Nothing has happened lately.");
    // Events do not change, so their elements do not either.
    keyed(this.list, list, identity, entry, () => {});
  }
}

// Who ended a session, as a part of a sentence. Other causes are shown as they are.
const causes = { caller: "by the caller", backend: "by the backend" };

let unnamed = 0;
const names = new WeakMap();
function identity(event) {
  if (event.date) return event.date;
  if (!names.has(event)) names.set(event, ++unnamed);
  return names.get(event);
}

function entry(event) {
  if (event.date) return el("li.day", {}, event.date);
  const [what, detail] = describe(event);
  const link = event.session && event.kind === "session-begun" ? sessionLink(event.session) : null;
  return el("li.event", { "data-group": groupOf.get(event.kind) ?? "relay", "data-kind": event.kind, title: full(event) },
    el("time", { datetime: event.time, title: moment(event.time) }, clock(event.time, true)),
    el("span.dot", { "aria-hidden": "true" }),
    el("span.said", {}, link ? el("a", { href: link }, what) : el("b", {}, what),
      event.stream !== undefined ? el("a.of", { href: streamLink(event.stream) }, keyText(event.stream)) : null,
      detail ? el("span.detail", {}, detail) : null));
}

// describe returns what happened, in a few words, and the details.
function describe(e) {
  const took = e.took_ms ? duration(e.took_ms / 1000) : "";
  const parts = (...all) => all.filter(Boolean).join(" · ");
  switch (e.kind) {
    case "session-begun": return [`${e.role ?? "caller"} began`, parts(e.caller, e.backend, took && `handshake ${took}`)];
    case "session-ended": return [`${e.role ?? "caller"} ended`, parts(causes[e.cause] ?? e.cause, e.caller, took && `after ${took}`)];
    case "session-migrated": return [`${e.role ?? "caller"} moved`, parts(`from ${e.former} to ${e.caller}`, took && `after ${took} of silence`)];
    case "caller-rejected": return ["rejected", parts([e.code, e.reason].filter(Boolean).join(" "), e.limit, e.caller)];
    case "stream-over-limit": return ["above its bitrate", parts(`${bitrate(e.bitrate)} of ${bitrate(e.max_bitrate)}`, e.caller)];
    case "more-rejected": return ["more rejected", `${count(e.lost)} without an event of their own`];
    case "backend-gone": return ["backend gone", parts(e.backend, e.address, e.cause)];
    case "backend-registered": return ["backend registered", parts(e.backend, e.address)];
    case "backend-changed": return ["backend changed", parts(e.backend, e.cause)];
    case "backend-removed": return ["backend removed", parts(e.backend, e.cause)];
    case "rules-changed": return ["rules changed", parts(e.cause)];
    case "config-reloaded": return ["settings read again", parts(e.cause)];
    case "overload-entered": return [`overload: ${e.step}`, parts(`pressure ${e.pressure} by ${e.input}`, e.cause)];
    case "overload-left": return [`overload: ${e.step} is over`, parts(`pressure ${e.pressure ?? 0} by ${e.input}`, e.cause)];
    case "relay-restarted": return ["relay restarted", parts(e.cause)];
    case "lost": return ["events missing", `${count(e.lost)} came too fast for this page`];
    default: return [e.kind, parts(e.cause, e.reason)];
  }
}

const full = (event) => Object.entries(event).map(([name, value]) => `${name}: ${value}`).join("\n");
