// The relay's events. The whole page has one connection; lists of events subscribe here.

import { root } from "./relay.js";

// Events of other kinds would be lost: the browser passes a named event to the listeners of
// its name only.
export const kinds = [
  "session-begun", "session-ended", "session-migrated", "caller-rejected", "more-rejected", "stream-over-limit", "backend-gone",
  "backend-registered", "backend-changed", "backend-removed", "rules-changed", "config-reloaded",
  "overload-entered", "overload-left", "lost",
];

// How many events the page remembers. The relay keeps the last 4,096.
const remembered = 1000;
// Readers get a burst of events together, and draw once.
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

  // open connects unless it is connected, and asks for the events since the newest one that
  // it has. The browser itself reconnects and asks for what it missed. It gives up only
  // if the relay refuses.
  open() {
    if (this.source && this.source.readyState !== EventSource.CLOSED) return;
    clearTimeout(this.retry);
    const source = new EventSource(root(`api/v1/events?after=${this.seen}`));
    this.source = source;
    for (const kind of kinds) source.addEventListener(kind, (message) => this.receive(message));
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

  receive(message) {
    const event = JSON.parse(message.data);
    // After a reconnect the relay may send the last event again.
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

  // restarted adds an event that says that the relay has been restarted.
  restarted(version) {
    this.add({ time: new Date().toISOString(), kind: "relay-restarted", cause: version });
  }
}
