// Makes the page's rounds of calls: once a second while the tab is visible, less and less
// often while the relay is away, and not at all while the tab is hidden.

import { Away, Refused } from "./relay.js";

const period = 1000;
const longestPause = 15_000;

// Pulse calls ask(signal) for each round, and report({state, text, left, status}) with the
// result: state is live, away, refused or paused, status the HTTP status of a refusal.
export class Pulse {
  constructor(ask, report) {
    this.ask = ask;
    this.report = report;
    this.failures = 0;
    this.running = null; // AbortController of the round under way
    this.timer = 0;
    document.addEventListener("visibilitychange", () => this.visible());
    addEventListener("online", () => this.now());
    // A page that the browser kept in its cache has old numbers.
    addEventListener("pageshow", (event) => { if (event.persisted) this.now(); });
    this.visible();
  }

  visible() {
    if (document.hidden) {
      this.stop();
      this.report({ state: "paused", text: "paused" });
    } else {
      this.now();
    }
  }

  stop() {
    clearTimeout(this.timer);
    this.running?.abort();
    this.running = null;
  }

  // now starts a round at once, because the view has changed or the user wants to retry.
  now() {
    this.stop();
    if (!document.hidden) this.round();
  }

  async round() {
    const running = new AbortController();
    this.running = running;
    const begun = performance.now();
    try {
      await this.ask(running.signal);
      if (running.signal.aborted) return;
      this.failures = 0;
      this.report({ state: "live", text: "live" });
      this.again(Math.max(100, period - (performance.now() - begun)));
    } catch (error) {
      if (running.signal.aborted) return;
      this.failed(error);
    }
  }

  again(pause) {
    this.timer = setTimeout(() => this.round(), pause);
  }

  failed(error) {
    if (!(error instanceof Away) && !(error instanceof Refused)) {
      console.error(error); // a bug of this page
    }
    this.failures++;
    const wanted = error instanceof Refused ? error.pause * 1000 : 0;
    const pause = Math.max(wanted, Math.min(longestPause, period * 2 ** (this.failures - 1)));
    const until = performance.now() + pause;
    const count = () => {
      const left = Math.ceil((until - performance.now()) / 1000);
      if (left <= 0) {
        this.round();
        return;
      }
      const state = error instanceof Away ? "away" : "refused";
      const text = error instanceof Away ? "relay away, retrying" : `relay says: ${error.message}`;
      this.report({ state, text, left, status: error.status });
      this.timer = setTimeout(count, 500);
    };
    count();
  }
}
