// The page of one stream: both networks side by side, two minutes of history, what its
// handshakes have negotiated, its sessions and its events.

import { byID, setAttribute, setText } from "./dom.js";
import { Charts } from "./charts.js";
import { EventList } from "./events.js";
import { Facts, negotiated } from "./facts.js";
import { Legs } from "./legs.js";
import { bitrate, bytes, count, counted, millis, moment, percent } from "./numbers.js";
import * as relay from "./relay.js";
import { keyText, streamLink } from "./route.js";
import { SessionTable } from "./sessions.js";
import { tightest } from "./verdict.js";

export class StreamPage {
  // seen is the History that the page keeps of sessions.
  constructor(feed, seen) {
    this.seen = seen;
    this.key = "";
    this.title = byID("stream-title");
    this.about = byID("stream-about");
    this.gone = byID("stream-gone");
    this.parts = byID("stream-parts");
    this.legs = new Legs();
    byID("stream-legs").append(this.legs.node);
    this.charts = new Charts(byID("stream-charts"), {
      ways: ["in", "out"], rates: "From publishers, and to players", quality: "Of the worst session in each second",
    });
    this.sessions = new SessionTable(byID("stream-sessions"));
    this.tally = byID("stream-sessions-count");
    this.facts = new Facts(byID("stream-facts"));
    this.events = new EventList(byID("stream-events"), { of: (event) => (event.stream ?? "") === this.key && event.kind !== "relay-restarted" });
    feed.subscribe((all) => this.events.set(all));
  }

  // show shows another stream.
  show(key) {
    this.key = key;
    setText(this.title, keyText(key));
    setAttribute(this.title, "title", key);
    setText(this.about, " ");
    this.found(true);
    this.sessions.grid.host.scrollTop = 0;
    this.events.draw();
  }

  found(is) {
    setAttribute(this.gone, "hidden", is);
    setAttribute(this.parts, "hidden", !is);
  }

  async refresh(signal) {
    const key = this.key;
    let stream;
    try {
      stream = await relay.stream(key, signal);
    } catch (error) {
      if (error.status !== 404) throw error;
      // The stream may come back, when a publisher reconnects. Then the page shows it
    // again.
      this.found(false);
      setText(this.about, " ");
      return;
    }
    if (key !== this.key) return;
    if (stream.key !== key) {
      // The address had a short name; events have the whole one.
      location.replace(streamLink(stream.key));
      return;
    }
    this.found(true);
    this.seen.add(stream.session_list ?? []);
    this.fill(stream);
  }

  fill(s) {
    const list = s.session_list ?? [];
    setText(this.about, [
      counted(s.publishers, "publisher"), counted(s.players, "player"), `in ${bitrate(s.bitrate_in_bps)}`, `out ${bitrate(s.bitrate_out_bps)}`,
      `since ${moment(s.since)}`,
    ].join(" · "));
    this.legs.set({
      caller: { name: callers(s, list), detail: "worst session at present" },
      relay: `${bitrate(s.bitrate_in_bps)} in, ${bitrate(s.bitrate_out_bps)} out`,
      backend: { name: s.backend.id, detail: s.backend.address },
      callerLeg: { rtt: s.caller_rtt_ms, loss: s.caller_loss_percent },
      backendLeg: { rtt: s.backend_rtt_ms, loss: s.backend_loss_percent },
      tight: tightest(list),
      sessions: { all: s.rated_sessions, caller: s.caller_lossy_sessions, backend: s.backend_lossy_sessions },
    });
    const h = s.history;
    const step = h?.step_seconds ?? 1;
    this.charts.set(
      [h?.bitrate_in_bps ?? [], h?.bitrate_out_bps ?? [], h?.caller_rtt_ms ?? [], h?.backend_rtt_ms ?? [], h?.caller_loss_percent ?? [], h?.backend_loss_percent ?? []],
      [s.bitrate_in_bps, s.bitrate_out_bps, s.caller_rtt_ms, s.backend_rtt_ms, s.caller_loss_percent, s.backend_loss_percent], step);
    this.facts.set([
      ["Bytes in", bytes(s.bytes_in)], ["Bytes out", bytes(s.bytes_out)],
      ["Retransmitted", `${count(s.retransmitted)} packets`], ["Dropped as too late", `${count(s.dropped)} packets`],
      ...negotiated(list),
    ]);
    setText(this.tally, list.length < s.sessions ? `${count(list.length)} of ${count(s.sessions)}` : count(s.sessions));
    this.sessions.set(list);
  }
}

// callers returns the name of the only caller, or the number of callers.
function callers(s, list) {
  if (list.length === 1) return list[0].caller;
  return [s.publishers ? counted(s.publishers, "publisher") : "", s.players ? counted(s.players, "player") : ""].filter(Boolean).join(", ") || "–";
}
