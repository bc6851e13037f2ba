// The shards as a heat strip: one cell each, the warmer the more traffic it has.

import { el, keyed, setAttribute, setStyle, setText } from "./dom.js";
import { bitrate, count, counted, packets, rate } from "./numbers.js";
import { Pace } from "./pace.js";

// Packets per second below which no shard is warm, so that an idle relay looks idle.
const warmFrom = 2000;
// How long a drop stays marked, in ms, so that it is not overlooked.
const markedFor = 10_000;

const dropped = (n) => n.kernel_drops + sum(n.drops) + sum(n.send_drops);
const sum = (counts) => Object.values(counts ?? {}).reduce((a, b) => a + b, 0);

export class ShardStrip {
  constructor(host) {
    this.host = host;
    this.pace = new Pace();
    this.marked = new Map(); // shard -> time of its last new drop
    host.setAttribute("role", "list");
  }

  // set takes the answer of /shards and returns the total rates.
  set(list) {
    const now = performance.now();
    const pairs = [["packets", list.total.packets], ["bytes", list.total.bytes]];
    for (const s of list.shards) pairs.push([`${s.shard} packets`, s.packets], [`${s.shard} bytes`, s.bytes], [`${s.shard} dropped`, dropped(s)]);
    this.pace.update(pairs, list.taken_at);
    const rates = list.shards.map((s) => this.pace.of(`${s.shard} packets`) ?? 0);
    const hottest = Math.max(warmFrom, ...rates);
    keyed(this.host, list.shards, (s) => s.shard, () => this.cell(), (node, s) => this.fill(node, s, hottest, now));
    return { packets: this.pace.of("packets"), bytes: this.pace.of("bytes") };
  }

  cell() {
    return el("div.shard", { role: "listitem" }, el("span.which"), el("span.load"), el("span.sessions"), el("span.mark", { hidden: true }));
  }

  fill(node, s, hottest, now) {
    const load = this.pace.of(`${s.shard} packets`);
    const drops = this.pace.of(`${s.shard} dropped`);
    if (drops > 0) this.marked.set(s.shard, now);
    const marked = now - (this.marked.get(s.shard) ?? -Infinity) < markedFor;
    const [number, text, sessions, mark] = node.children;
    setText(number, `shard ${s.shard}`);
    setText(text, load === undefined ? "–" : `${rate(load)}/s`);
    setText(sessions, counted(s.sessions, "session"));
    setAttribute(mark, "hidden", !marked);
    setText(mark, drops > 0 ? `${rate(drops)}/s dropped` : "dropped");
    setStyle(node, "--heat", ((load ?? 0) / hottest).toFixed(3));
    setAttribute(node, "title", [
      `Shard ${s.shard}`, `${packets(load)} received, ${bitrate(times8(this.pace.of(`${s.shard} bytes`)))}`,
      `${count(s.packets)} packets since the start`, `${counted(s.sessions, "session")}, ${count(s.half_open)} half open`,
      `${s.batch_fill.toFixed(2)} packets per receive call`, `${count(dropped(s))} dropped, of them ${count(s.kernel_drops)} by the kernel`,
    ].join("\n"));
  }
}

const times8 = (value) => (value === undefined ? undefined : value * 8);
