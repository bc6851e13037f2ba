// Computes rates from the counters of two answers, by the relay's own clock: one answer may
// come a second later than the other.

// Answers less than this apart, in seconds, count as one. Their times are in milliseconds,
// which would be too coarse.
const apart = 0.2;
// After a longer pause, in seconds, the mean would hide the present rate.
const longest = 20;

// Pace keeps an answer of one source. Rates are per second. A counter that is new, or has
// begun again, has none.
export class Pace {
  constructor() {
    this.at = 0;
    this.last = new Map();
    this.rates = new Map();
  }

  // update takes the counters of one answer, pairs of name and number, and its taken_at.
  update(pairs, takenAt) {
    const now = Date.parse(takenAt);
    const seconds = (now - this.at) / 1000;
    const next = new Map(pairs);
    const restarted = [...next].some(([name, value]) => value < (this.last.get(name) ?? 0));
    if (!restarted && seconds >= 0 && seconds < apart) return;
    this.rates = new Map();
    if (!restarted && seconds > 0 && seconds < longest) {
      for (const [name, value] of next) {
        const before = this.last.get(name);
        if (before !== undefined) this.rates.set(name, (value - before) / seconds);
      }
    }
    this.at = now;
    this.last = next;
  }

  of(name) {
    return this.rates.get(name);
  }
}
