// Computes rates from the counters of two answers.

// Pace keeps the last answer of one source. Rates are per second. A counter that is new, or
// has begun again, has none.
export class Pace {
  constructor() {
    this.at = 0;
    this.last = new Map();
    this.rates = new Map();
  }

  // update takes the counters of one answer: pairs of name and number.
  update(pairs, now = performance.now()) {
    const seconds = (now - this.at) / 1000;
    const next = new Map(pairs);
    this.rates = new Map();
    // After a pause the mean would hide the present rate.
    if (this.at > 0 && seconds > 0.05 && seconds < 20) {
      for (const [name, value] of next) {
        const before = this.last.get(name);
        if (before !== undefined && value >= before) this.rates.set(name, (value - before) / seconds);
      }
    }
    this.at = now;
    this.last = next;
  }

  of(name) {
    return this.rates.get(name);
  }
}
