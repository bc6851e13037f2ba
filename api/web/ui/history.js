// The history of sessions, as this page has seen them. The relay itself keeps a history of
// streams only: that of a hundred thousand sessions would need more memory than the sessions.

// Seconds that are kept, as many as the relay keeps of a stream.
const length = 120;
// Seconds that a chart shows at least, so that one value is not a whole line.
const shortest = 30;
// The most sessions, as many as the relay lists of one stream.
const most = 1000;
// An answer may be late for its second. So many seconds get the value of the one before.
const bridged = 2;

// valuesOf returns the values of a session in the order of the lines of Charts.
export const valuesOf = (s) => [
  s.to_backend.bitrate_bps, s.to_caller.bitrate_bps, s.caller_leg.rtt_ms, s.backend_leg.rtt_ms, s.caller_leg.loss_percent, s.backend_leg.loss_percent,
];

export class History {
  constructor() {
    this.kept = new Map(); // ID -> {second, rows}, the session seen last at the end
  }

  // add adds the sessions of an answer that has just come.
  add(sessions) {
    const second = Math.floor(performance.now() / 1000);
    for (const s of sessions) {
      const one = this.kept.get(s.id) ?? { second: second - 1, rows: [] };
      this.kept.delete(s.id);
      this.kept.set(s.id, one);
      put(one, second, valuesOf(s));
    }
    for (const [id, one] of this.kept) {
      if (this.kept.size <= most && one.second > second - length) break;
      this.kept.delete(id);
    }
  }

  // lists returns a session's values by line, oldest first, with null for a second without
  // an answer.
  lists(id) {
    const rows = this.kept.get(id)?.rows ?? [];
    const before = Array(Math.max(0, shortest - rows.length)).fill(null);
    return Array.from({ length: 6 }, (_, line) => [...before, ...rows].map((row) => row?.[line] ?? null));
  }
}

// put stores a row of values for a second.
function put(one, second, row) {
  const missed = second - one.second - 1;
  if (missed < 0) { // a second answer within one second
    one.rows[one.rows.length - 1] = row;
    return;
  }
  const between = missed <= bridged ? one.rows.at(-1) ?? null : null;
  for (let i = 0; i < Math.min(missed, length); i++) one.rows.push(between);
  one.rows.push(row);
  one.rows.splice(0, one.rows.length - length);
  one.second = second;
}
