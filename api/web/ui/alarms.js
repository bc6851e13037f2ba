// The alarms above all views: why the relay takes no callers, or a problem that callers do
// not notice, such as lines of the log that are lost.

import { el, keyed, setAttribute, setText } from "./dom.js";

export class Alarms {
  constructor(host) {
    this.host = host;
  }

  // set takes the answer of /ready.
  set({ ready, draining, reason }) {
    const list = [];
    if (draining) list.push({ level: "bad", text: "The relay is stopping: it refuses new callers. What runs goes on until it ends." });
    else if (!ready) list.push({ level: "bad", text: `Not ready: ${reason}. New callers are refused, what runs goes on.` });
    else if (reason) list.push({ level: "some", text: `Ready, but: ${reason}.` });
    setAttribute(this.host, "hidden", list.length === 0);
    keyed(this.host, list, (alarm) => alarm.level, () => el("p.alarm"), (node, { level, text }) => {
      setAttribute(node, "data-level", level);
      setText(node, text);
    });
  }
}
