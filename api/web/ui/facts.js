// What the handshakes have negotiated, as names and values.

import { el, keyed, setText } from "./dom.js";
import { count } from "./numbers.js";

export class Facts {
  constructor(host) {
    this.list = el("dl.facts");
    host.append(this.list);
  }

  // set takes pairs of a name and a text. Pairs without text are left out.
  set(pairs) {
    keyed(this.list, pairs.filter(([, text]) => text), ([name]) => name,
      ([name]) => el("div", {}, el("dt", {}, name), el("dd")), (node, [, text]) => setText(node.lastElementChild, text));
  }
}

export function encryption(srt) {
  if (srt.encryption === "none") return "none";
  return [srt.encryption.toUpperCase(), srt.key_length ? `${srt.key_length} bit` : ""].filter(Boolean).join(", ");
}

export const latency = (milliseconds) => (milliseconds ? `${milliseconds} ms` : "");

// tally returns the different texts of a list with their counts, the most frequent first:
// "1.5.3 (11), 1.4.4".
export function tally(list, text) {
  const found = new Map();
  for (const item of list) {
    const value = text(item);
    if (value) found.set(value, (found.get(value) ?? 0) + 1);
  }
  const all = [...found].sort((a, b) => b[1] - a[1]);
  if (all.length === 1) return all[0][0];
  return all.map(([value, n]) => `${value} (${count(n)})`).join(", ");
}

// negotiated returns the facts of one or more sessions.
export function negotiated(sessions) {
  const of = (text) => tally(sessions, text);
  return [
    ["Encryption", of((s) => encryption(s.srt))],
    ["Latency to backend", of((s) => latency(s.srt.latency_to_backend_ms))],
    ["Latency to caller", of((s) => latency(s.srt.latency_to_caller_ms))],
    ["SRT version of callers", of((s) => s.srt.caller_version)],
    ["SRT version of backend", of((s) => s.srt.backend_version)],
    ["Key refreshes", sessions.some((s) => s.srt.encryption !== "none") ? count(sessions.reduce((sum, s) => sum + s.srt.key_refreshes, 0)) : ""],
    ["FEC filter", of((s) => s.srt.filter)],
    ["Bonding group", of((s) => (s.srt.group_id ? `${s.srt.group_type || "group"} ${s.srt.group_id}` : ""))],
    ["Congestion control", of((s) => s.srt.congestion)],
  ];
}
