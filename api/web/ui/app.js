// Connects the parts of the page: the address decides which view is shown, and the view
// which calls are made.

import { byID, setAttribute, setText } from "./dom.js";
import { Alarms } from "./alarms.js";
import { BackendList } from "./backends.js";
import { Confirmation } from "./confirm.js";
import { DropTable } from "./drops.js";
import { EventList } from "./events.js";
import { Facts } from "./facts.js";
import { Feed } from "./feed.js";
import { History } from "./history.js";
import { kernelFacts } from "./kernelpath.js";
import { Login } from "./login.js";
import { bitrate, count, packets } from "./numbers.js";
import { overloadFacts } from "./overload.js";
import { Pulse } from "./pulse.js";
import * as relay from "./relay.js";
import { RelaysPage, staleText } from "./relays.js";
import * as route from "./route.js";
import { SessionPage } from "./session.js";
import { ShardStrip } from "./shards.js";
import { StreamPage } from "./stream.js";
import { StreamTable } from "./streams.js";

const feed = new Feed();
const shards = new ShardStrip(byID("shards"));
const facts = new Facts(byID("kernel-path"));
const drops = new DropTable(byID("drops"));
const events = new EventList(byID("events"));
const streams = new StreamTable(() => pulse?.now());
const alarms = new Alarms(byID("alarms"));
const confirmation = new Confirmation();
const backends = new BackendList(byID("backends"), {
  confirmation, again: () => pulse.now(), chosen: (id) => chooseBackend(id === streams.backend ? "" : id),
});
const seen = new History();
const streamPage = new StreamPage(feed, seen);
const sessionPage = new SessionPage({ confirmation, again: () => pulse.now(), seen });
const relaysPage = new RelaysPage(() => pulse.now());
const login = new Login(() => pulse.now());
const views = { overview: byID("overview"), stream: byID("stream-view"), session: byID("session-view"), relays: byID("relays-view") };
const pages = { stream: streamPage, session: sessionPage, relays: relaysPage };
feed.subscribe((all) => events.set(all));

let shown = route.read();
let process = ""; // pid of the relay
let relayName = "";
let pulse = null;
let lastFocus = null;
let shares = false; // the relay shares its state with others

function chooseBackend(id) {
  backends.mark(id);
  const chip = byID("only-backend");
  setAttribute(chip, "hidden", id === "");
  setText(chip, `${id} ×`);
  streams.show({ backend: id });
}

// ask makes the calls of one round.
async function ask(signal) {
  const parts = [relay.versions(signal).then(welcome).then(() => (shares ? relay.relays(signal).then(showRelays) : null)), relay.ready(signal).then((answer) => alarms.set(answer)), totals(signal)];
  if (shown.view === "overview") {
    parts.push(relay.backends(signal).then(showBackends), streams.refresh(signal).then(countStreams));
  } else {
    parts.push(pages[shown.view].refresh(signal), relay.streams({ limit: 1 }, signal).then((list) => setText(byID("total-streams"), count(list.total))));
  }
  await Promise.all(parts);
  feed.open();
}

async function totals(signal) {
  const list = await relay.shards(signal);
  const now = shards.set(list);
  drops.set(list);
  setText(byID("total-sessions"), count(list.total.sessions));
  setText(byID("total-packets"), packets(now.packets));
  setText(byID("total-bitrate"), bitrate(now.bytes === undefined ? undefined : now.bytes * 8));
  setText(byID("shards-count"), count(list.shards.length));
  facts.set([...kernelFacts(list.kernel_path), ...overloadFacts(list.overload)]);
}

function showBackends(list) {
  backends.set(list);
  setText(byID("backends-count"), `${count(list.alive)} of ${count(list.total)} alive`);
}

// showRelays shows how many relays are alive, on every view.
function showRelays(list) {
  relaysPage.set(list);
  const link = byID("relays-link");
  const stale = staleText(list);
  setText(byID("relays-alive"), `${count(list.alive)} of ${count(list.relays.length)}${stale ? ", Redis away" : ""}`);
  setAttribute(link, "data-state", list.away > 0 || stale ? "away" : "alive");
  setAttribute(link, "title", stale || "All relays that share the Redis");
}

function countStreams(total) {
  if (streams.match === "" && streams.backend === "") setText(byID("total-streams"), count(total));
}

function welcome({ pid, data }) {
  setText(byID("version"), data.version);
  shares = data.shared_state === true;
  setAttribute(byID("relays-link"), "hidden", !shares);
  if (relayName !== (data.name ?? "")) {
    relayName = data.name ?? "";
    setText(byID("relay-name"), relayName);
    streamPage.legs.setRelay(relayName);
    sessionPage.legs.setRelay(relayName);
    entitle();
  }
  if (process !== "" && pid !== process) feed.restarted(data.version);
  process = pid;
}

function showState({ state, text, left, status }) {
  const line = byID("status");
  setAttribute(line, "data-state", state);
  setText(byID("status-text"), text);
  setText(byID("status-left"), left ? `in ${left} s` : "");
  setAttribute(byID("retry"), "hidden", state !== "away" && state !== "refused");
  setAttribute(document.body, "data-state", state);
  if (state !== "paused") setAttribute(document.body, "data-begun", true);
  if (state === "paused") feed.close();
  if (status === 401) login.ask();
}

// entitle sets the title of the window: the view, and the relay's name.
function entitle() {
  const what = { overview: "", stream: route.keyText(shown.name), session: `session ${shown.name}`, relays: "relays" }[shown.view];
  document.title = [what, relayName, "srtrelay"].filter(Boolean).join(" – ");
}

function show() {
  const next = route.read();
  const from = shown;
  shown = next;
  for (const [name, node] of Object.entries(views)) setAttribute(node, "hidden", name !== next.view);
  if (next.view === "stream") streamPage.show(next.name);
  if (next.view === "session") sessionPage.show(next.name);
  confirmation.withdraw();
  entitle();
  scrollTo(0, 0);
  if (next.view === "overview") {
    if (from.view !== "overview") (lastFocus ?? byID("streams")).focus({ preventScroll: true });
  } else {
    byID(`${next.view}-title`).focus({ preventScroll: true });
  }
  pulse?.now();
}

// Keys that work everywhere: / filters, Esc goes back.
addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  const writing = event.target.closest("input, select, textarea");
  if (event.key === "/" && !writing) {
    event.preventDefault();
    if (shown.view !== "overview") location.hash = route.overviewLink;
    lastFocus = byID("filter");
    byID("filter").focus();
    byID("filter").select();
  } else if (event.key === "Escape" && writing?.id === "filter") {
    if (writing.value !== "") {
      writing.value = "";
      streams.show({ match: "" });
    } else {
      byID("streams").focus();
    }
  } else if (event.key === "Escape" && shown.view !== "overview") {
    lastFocus = byID("streams");
    location.hash = shown.view === "session" && sessionPage.session ? route.streamLink(sessionPage.session.stream) : route.overviewLink;
  }
});

// In the filter, Enter and the down arrow move the focus to the table.
byID("filter").addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown" && event.key !== "Enter") return;
  event.preventDefault();
  byID("streams").focus();
  streams.grid.move(0, true);
});
byID("only-backend").addEventListener("click", () => chooseBackend(""));
byID("retry").addEventListener("click", () => pulse.now());
byID("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byID(shown.view === "overview" ? "streams" : `${shown.view}-title`).focus();
});
addEventListener("hashchange", show);
show();
pulse = new Pulse(ask, showState);
