// The page of all relays that share the Redis: which is away, and which of them has which
// stream on which backend.

import { byID, el, keyed, setAttribute, setText } from "./dom.js";
import { bitrate, count, counted, duration, moment } from "./numbers.js";
import * as relay from "./relay.js";
import { keyText, streamLink } from "./route.js";

// Streams shown at once; the filter finds the others.
const mostStreams = 200;
// How long after a key the relay is asked, when the word is probably complete.
const typing = 150;

// stateOf returns one word, which is also a class name.
export function stateOf(r) {
  if (r.state !== "alive") return r.state;
  if (r.problem) return "unreadable";
  return r.draining ? "draining" : "alive";
}

const hints = {
  alive: "Reports itself to Redis every two seconds",
  away: "Its reports have ended: it was killed, or cannot reach Redis, and then its sessions go on",
  draining: "Is to stop: it takes no new callers",
  unreadable: "What it reports cannot be read",
};

// staleText says why a view of all relays is not the present one, "" if it is.
export function staleText({ shared_state: s }) {
  if (s.in_use) return "";
  const since = `Redis is away since ${moment(s.since)}.`;
  return s.read_at ? `${since} What is shown is as it was at ${moment(s.read_at)}.` : `${since} Nothing is known of the relays.`;
}

// linkTo returns the address of a stream's page at a relay, null where there is none.
function linkTo(place, relays, key) {
  const at = relays.get(place.relay);
  if (at?.self) return streamLink(key);
  return at?.state === "alive" && /^https?:\/\//.test(at.api ?? "") ? `${at.api.replace(/\/$/, "")}/${streamLink(key)}` : null;
}

export class RelaysPage {
  // again() is called when the query has changed, to ask soon.
  constructor(again) {
    this.relays = new Map();
    this.stale = byID("relays-stale");
    this.about = byID("relays-about");
    this.tally = byID("relays-count");
    this.list = el("tbody");
    this.sum = el("tfoot", {}, el("tr", {}, el("th", { scope: "row" }, "All alive"), el("td"), el("td.number"), el("td.number"), el("td.number"), el("td.number"), el("td", { colspan: "3" })));
    byID("relays").append(table(["Relay", "State", "#Sessions", "#Streams", "#In", "#Out", "Seen", "Uptime", "Version"], this.list, this.sum));
    this.places = el("tbody");
    this.placeTable = table(["Stream", "Relay", "State", "Backend", "#In", "#Out", "#Publishers", "#Players"], this.places);
    byID("places").append(this.placeTable);
    this.placesTally = byID("places-count");
    this.more = byID("places-more");
    this.filter = byID("places-filter");
    this.filter.addEventListener("input", () => {
      clearTimeout(this.typed);
      this.typed = setTimeout(again, typing);
    });
  }

  // refresh asks for the streams and draws them. The relays are set before.
  async refresh(signal) {
    const match = this.filter.value.trim();
    const list = await relay.clusterStreams({ q: match, limit: mostStreams }, signal);
    const rows = list.streams.flatMap((s) => s.places.map((place) => ({ key: s.key, place })));
    keyed(this.places, rows, ({ key, place }) => `${place.relay} ${key}`, placeRow, (node, row) => this.fillPlace(node, row));
    setText(this.placesTally, count(list.total));
    setAttribute(this.placeTable, "hidden", rows.length === 0);
    const hidden = list.total - list.streams.length;
    setText(this.more, [
      rows.length === 0 ? (match ? "No stream fits the filter." : "No relay has a stream at present.") : "",
      hidden > 0 ? `${counted(hidden, "more stream")}: the filter finds them.` : "",
      list.left_out > 0 ? `${counted(list.left_out, "stream")} with little traffic ${list.left_out === 1 ? "is" : "are"} not listed by the relays.` : "",
    ].filter(Boolean).join(" "));
  }

  // set takes the answer about the relays.
  set(list) {
    this.relays = new Map(list.relays.map((r) => [r.id, r]));
    const stale = staleText(list);
    setAttribute(this.stale, "hidden", stale === "");
    setText(this.stale, stale);
    setText(this.tally, `${count(list.alive)} of ${count(list.relays.length)} alive`);
    setText(this.about, `${counted(list.sum.sessions, "session")} of ${counted(list.sum.streams, "stream")} at the relays that are alive`);
    keyed(this.list, list.relays, (r) => r.id, relayRow, fillRelay);
    const [, , sessions, streams, rateIn, rateOut] = this.sum.firstElementChild.children;
    setText(sessions, count(list.sum.sessions));
    setText(streams, count(list.sum.streams));
    setText(rateIn, bitrate(list.sum.bitrate_in_bps));
    setText(rateOut, bitrate(list.sum.bitrate_out_bps));
  }

  fillPlace(node, { key, place }) {
    const [stream, name, state, backend, rateIn, rateOut, publishers, players] = node.children;
    const link = stream.firstElementChild;
    setText(link, keyText(key));
    setAttribute(link, "title", key);
    setAttribute(link, "href", linkTo(place, this.relays, key));
    setText(name, place.name);
    setAttribute(node, "data-state", place.state);
    setText(state, place.state === "alive" ? "alive" : "away, last known");
    setText(backend, place.backend.id);
    setAttribute(backend, "title", `${place.backend.id} at ${place.backend.address}`);
    setText(rateIn, bitrate(place.bitrate_in_bps));
    setText(rateOut, bitrate(place.bitrate_out_bps));
    setText(publishers, count(place.publishers));
    setText(players, count(place.players));
  }
}

// table returns a table with heads. # before a head means that the column has numbers.
function table(heads, ...parts) {
  const cells = heads.map((h) => (h.startsWith("#") ? el("th.number", { scope: "col" }, h.slice(1)) : el("th", { scope: "col" }, h)));
  return el("table.relays", {}, el("thead", {}, el("tr", {}, ...cells)), ...parts);
}

const numbers = (n) => Array.from({ length: n }, () => el("td.number"));

function relayRow() {
  return el("tr", {}, el("th", { scope: "row" }, el("a")), el("td.state"), ...numbers(4), el("td"), el("td"), el("td"));
}

function placeRow() {
  return el("tr", {}, el("th", { scope: "row" }, el("a.key")), el("td"), el("td.state"), el("td"), ...numbers(4));
}

function fillRelay(node, r) {
  const [name, state, sessions, streams, rateIn, rateOut, seen, uptime, version] = node.children;
  const word = stateOf(r);
  const link = name.firstElementChild;
  setText(link, r.self ? `${r.name} (this one)` : r.name);
  setAttribute(link, "title", `ID ${r.id}`);
  setAttribute(link, "href", r.self ? "#/" : /^https?:\/\//.test(r.api ?? "") ? r.api : null);
  setAttribute(node, "data-state", word);
  setText(state, [word, r.overload ? `overload: ${r.overload}` : ""].filter(Boolean).join(", "));
  setAttribute(state, "title", [hints[word], r.problem ?? ""].filter(Boolean).join("\n"));
  setText(sessions, count(r.sessions));
  setText(streams, count(r.streams));
  setText(rateIn, bitrate(r.bitrate_in_bps));
  setText(rateOut, bitrate(r.bitrate_out_bps));
  setText(seen, `${duration(Math.round(r.seen_seconds))} ago`);
  setAttribute(seen, "title", moment(r.seen_at));
  setText(uptime, duration(r.uptime_seconds));
  setText(version, r.version);
}
