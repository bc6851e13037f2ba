// The page of one session: both legs, both ways with every counter, and the button that
// closes the session.

import { byID, el, setAttribute, setText } from "./dom.js";
import { Charts } from "./charts.js";
import { Facts, negotiated } from "./facts.js";
import { valuesOf } from "./history.js";
import { Legs } from "./legs.js";
import { bitrate, bytes, count, duration, millis, moment, packets, percent } from "./numbers.js";
import * as relay from "./relay.js";
import { keyText, streamLink } from "./route.js";
import { mediaWay } from "./sessions.js";
import { tightest } from "./verdict.js";

const variance = (value) => (value === undefined ? "" : ` ± ${millis(value)}`);

// The counters of a way: name, value, what it means.
const rows = [
  ["Bitrate", (w) => bitrate(w.bitrate_bps), "All datagrams of this way, over the last second"],
  ["Packet rate", (w) => packets(w.packets_per_second), "All datagrams of this way, over the last second"],
  ["Packets", (w) => count(w.packets), "All datagrams"],
  ["Bytes", (w) => bytes(w.bytes), "Their UDP payload"],
  ["Data packets", (w) => count(w.data_packets), "Packets with media"],
  ["Media", (w) => bytes(w.data_bytes), "Media without SRT headers"],
  ["Retransmitted", (w) => count(w.retransmitted), "Data packets that were sent again"],
  ["Lost before the relay", (w) => count(w.lost_before), "Never reached the relay"],
  ["Lost behind the relay", (w) => count(w.lost_behind), "Went through the relay and had to be sent again"],
  ["Lost as reported", (w) => count(w.lost_reported), "What the receiver’s NAKs name, each time they name it"],
  ["Dropped as too late", (w) => count(w.dropped), "Given up by the sender (DROPREQ)"],
  ["Duplicated", (w) => count(w.duplicated), "Came twice without being marked as sent again"],
  ["Reordered", (w) => count(w.reordered), "Came later than their successors"],
  ["FEC packets", (w) => count(w.filter_packets), "Packets of the packet filter"],
  ["ACK, NAK, ACKACK", (w) => `${count(w.acks)}, ${count(w.naks)}, ${count(w.ackacks)}`, "From this way’s receiver; ACKACKs from its sender"],
  ["Implausible ACKs", (w) => count(w.implausible_acks ?? 0), "Full ACKs that cannot be true, such as an RTT above 10 s; what they say is left out"],
  ["Receiver’s RTT", (w) => millis(w.receiver?.rtt_ms) + variance(w.receiver?.rtt_variance_ms), "Over the whole path, as the receiver’s last full ACK says"],
  ["Receiver’s buffer", (w) => (w.receiver ? `${count(w.receiver.buffer_available_packets)} packets free` : "–"), "Room in the receiver’s buffer"],
  ["Receiver’s rate", (w) => (w.receiver ? `${packets(w.receiver.packets_per_second)}, ${bitrate(w.receiver.bitrate_bps)}` : "–"), "What the receiver says it gets"],
  ["Link capacity", (w) => packets(w.receiver?.link_capacity_packets_per_second), "The receiver’s estimate"],
];

export class SessionPage {
  // confirmation asks before a session is closed, and again() is called afterwards.
  // seen is the History that the page keeps of sessions.
  constructor({ confirmation, again, seen }) {
    Object.assign(this, { confirmation, again, seen });
    this.id = "";
    this.title = byID("session-title");
    this.about = byID("session-about");
    this.stream = byID("session-stream");
    this.gone = byID("session-gone");
    this.parts = byID("session-parts");
    this.legs = new Legs();
    byID("session-legs").append(this.legs.node);
    this.facts = new Facts(byID("session-facts"));
    this.charts = new Charts(byID("session-charts"), {
      ways: ["to the backend", "to the caller"], rates: "All datagrams of each way", quality: "Of this session, over the last second",
    });
    this.close = byID("session-close");
    this.close.addEventListener("click", () => this.askToClose());
    this.ways = el("tbody", {}, ...rows.map(([name, , hint]) =>
      el("tr", { title: hint }, el("th", { scope: "row" }, name), el("td.number"), el("td.number"))));
    byID("session-ways").append(el("table.ways", {},
      el("thead", {}, el("tr", {}, el("td"), el("th.number", { scope: "col" }, "To the backend"), el("th.number", { scope: "col" }, "To the caller"))), this.ways));
  }

  askToClose() {
    const { id, role, caller } = this.session;
    this.confirmation.ask({
      title: "Close this session?", no: "Keep it", yes: "Close session", gone: "The session has ended already.",
      text: `The ${role} at ${caller} and the backend get a SHUTDOWN. Most callers connect again at once.`,
      call: () => relay.closeSession(id), done: this.again,
    });
  }

  show(id) {
    this.id = id;
    this.session = null;
    setText(this.title, `Session ${id}`);
    setText(this.about, " ");
    setAttribute(this.stream, "hidden", true);
    this.found(true);
    this.close.disabled = true;
  }

  found(is) {
    setAttribute(this.gone, "hidden", is);
    setAttribute(this.parts, "hidden", !is);
    setAttribute(this.close, "hidden", !is);
  }

  async refresh(signal) {
    const id = this.id;
    let session;
    try {
      session = await relay.session(id, signal);
    } catch (error) {
      if (error.status !== 404) throw error;
      // An ID is never used again, so the session does not come back.
      if (id !== this.id) return;
      setText(this.gone, this.session ? "This session has ended." : "There is no session with this ID: it has ended, or never was.");
      this.found(false);
      this.confirmation.withdraw();
      return;
    }
    if (id !== this.id) return;
    this.session = session;
    this.seen.add([session]);
    this.fill(session);
  }

  fill(s) {
    const ended = s.ended ? `ended: ${s.ended}` : s.state;
    setText(this.title, `${s.role === "publisher" ? "Publisher" : "Player"} ${s.caller}`);
    setText(this.about, [ended, s.state === "established" ? `for ${duration(s.age_seconds)}` : "", `session ${s.id}`].filter(Boolean).join(" · "));
    setAttribute(this.stream, "hidden", null);
    setAttribute(this.stream, "href", streamLink(s.stream));
    setText(this.stream, keyText(s.stream));
    this.close.disabled = s.state === "closing" || s.state === "rejected";
    const way = mediaWay(s);
    this.legs.set({
      caller: { name: s.caller, detail: s.srt.caller_version ? `SRT ${s.srt.caller_version}` : s.role },
      relay: `shard ${s.shard}, ${bitrate(way.bitrate_bps)}`,
      backend: { name: s.backend.id, detail: s.backend.address },
      callerLeg: network(s.caller_leg), backendLeg: network(s.backend_leg),
      tight: tightest([s]),
    });
    this.charts.set(this.seen.lists(s.id), valuesOf(s), 1);
    rows.forEach(([, text], i) => {
      setText(this.ways.children[i].children[1], text(s.to_backend));
      setText(this.ways.children[i].children[2], text(s.to_caller));
    });
    this.facts.set([
      ["Stream ID as sent", s.stream_id], ["Begun", moment(s.opened_at)],
      ["Handshake took", s.handshake_ms ? millis(s.handshake_ms) : ""], ["Idle", duration(s.idle_seconds)], ["Moved to another address", s.migrations ? (s.migrations === 1 ? "once" : `${s.migrations} times`) : ""],
      ["Loss in all, caller’s network", percent(s.caller_leg.total_loss_percent)], ["Loss in all, yours", percent(s.backend_leg.total_loss_percent)],
      ...negotiated([s]),
      ["Socket IDs", !s.caller_socket_id ? "only with the token" : [s.caller_socket_id, s.backend_socket_id].filter(Boolean).join(" at the caller, ") + (s.backend_socket_id ? " at the backend" : " at the caller")],
    ]);
  }
}

function network(leg) {
  const note = leg.measured ? "Measured by the relay, from ACK to ACKACK" : "What remains of the receiver’s own RTT";
  return { rtt: leg.rtt_ms, loss: leg.loss_percent, note: note + variance(leg.rtt_variance_ms) };
}
