// The path of a stream's media: caller, the caller's network, relay, your network, backend.
// Above it is the verdict.

import { el, setAttribute, setText } from "./dom.js";
import { millis, percent } from "./numbers.js";
import { level, levelText, verdict } from "./verdict.js";

function place(title) {
  const name = el("strong");
  const detail = el("span.detail");
  return { node: el("div.place", {}, el("span.what", {}, title), name, detail), name, detail };
}

function leg(title, hint) {
  const rtt = el("b.rtt");
  const loss = el("b.loss");
  const state = el("span.state");
  const node = el("section.leg", { "aria-label": title, title: hint }, el("h2", {}, title),
    el("div.wire", { "aria-hidden": "true" }),
    el("dl", {}, el("div", {}, el("dt", {}, "Loss"), el("dd", {}, loss)), el("div", {}, el("dt", {}, "RTT"), el("dd", {}, rtt))), state);
  return { node, rtt, loss, state };
}

export class Legs {
  constructor() {
    this.caller = place("Caller");
    this.relay = place("Relay");
    this.backend = place("Backend");
    this.callerLeg = leg("Caller’s network", "Between the caller and this relay");
    this.backendLeg = leg("Your network", "Between this relay and the backend");
    this.sentence = el("p.verdict", { role: "status" });
    this.node = el("section.card.legs", { "aria-label": "Where is the loss?" }, this.sentence,
      el("div.path", {}, this.caller.node, this.callerLeg.node, this.relay.node, this.backendLeg.node, this.backend.node));
    this.setRelay("");
  }

  // setRelay names the relay.
  setRelay(name) {
    setText(this.relay.name, name || "srtrelay");
  }

  // set takes {caller, backend: {name, detail}, relay: detail, callerLeg,
  // backendLeg: {rtt, variance, loss, note}, tight, sessions}.
  set({ caller, relay, backend, callerLeg, backendLeg, tight, sessions }) {
    for (const [part, value] of [[this.caller, caller], [this.backend, backend]]) {
      setText(part.name, value.name);
      setText(part.detail, value.detail === value.name ? "" : value.detail);
    }
    setText(this.relay.detail, relay);
    for (const [part, value] of [[this.callerLeg, callerLeg], [this.backendLeg, backendLeg]]) {
      const found = level(value.loss);
      setAttribute(part.node, "data-level", found);
      setText(part.loss, percent(value.loss));
      setText(part.rtt, millis(value.rtt));
      setAttribute(part.rtt, "title", value.note ?? null);
      setText(part.state, levelText[found]);
    }
    const found = verdict({
      callerLoss: callerLeg.loss, backendLoss: backendLeg.loss, tight, sessions,
    });
    setAttribute(this.sentence, "data-level", found.level);
    setText(this.sentence, found.text);
  }
}
