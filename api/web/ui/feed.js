// The relay's events, as they come. One connection for the whole page; lists
// that show events register here.

import { root } from "./relay.js";

// A kind that is not named here would not be heard: the browser gives named
// events to their own listeners only.
export const kinds = [
  "session-begun", "session-ended", "caller-rejected", "more-rejected", "backend-gone",
  "backend-registered", "backend-changed", "backend-removed", "rules-changed", "lost",
];

// How many events the page remembers. The relay itself keeps the last 4096.
const remembered = 1000;
// Readers see a burst of events together, so that it costs one drawing.
const drawEvery = 250;
const retryAfter = 2000;

export class Feed {
  constructor() {
    this.events = []; // newest first
    this.seen = 0; // id of the newest event
    this.readers = new Set();
    this.source = null;
    this.retry = 0;
    this.pending = 0;
  }

  subscribe(reader) {
    this.readers.add(reader);
    reader(this.events);
  }

  // open connects unless connected, and asks for what the relay still has of
  // the time since the newest event seen. The browser itself comes back after a break
  // and asks for what it missed; only a refusal makes it give up.
  open() {
    if (this.source && this.source.readyState !== EventSource.CLOSED) return;
    clearTimeout(this.retry);
    const source = new EventSource(root(`api/v1/events?after=${this.seen}`));
    this.source = source;
    for (const kind of kinds) source.addEventListener(kind, (message) => this.take(message));
    source.addEventListener("error", () => {
      if (this.source !== source || source.readyState !== EventSource.CLOSED) return;
      this.retry = setTimeout(() => this.open(), retryAfter);
    });
  }

  close() {
    clearTimeout(this.retry);
    this.source?.close();
    this.source = null;
  }

  take(message) {
    const event = JSON.parse(message.data);
    // After a break the relay tells again what came last.
    if (event.kind !== "lost" && event.id <= this.seen) return;
    this.seen = Math.max(this.seen, event.id ?? 0);
    this.add(event);
  }

  add(event) {
    this.events.unshift(event);
    if (this.events.length > remembered) this.events.length = remembered;
    if (!this.pending) {
      this.pending = setTimeout(() => {
        this.pending = 0;
        for (const reader of this.readers) reader(this.events);
      }, drawEvery);
    }
  }

  // restarted marks in the list that the relay is another process now.
  restarted(version) {
    this.add({ time: new Date().toISOString(), kind: "relay-restarted", cause: version });
  }
}
