// What the kernel relays itself, and what it has left to the shards.

import { count, counted } from "./numbers.js";

// Reasons of the relay, as a reader understands them.
const reasons = {
  off: "captured or ended", pending: "handed over", paused: "routes changed", type: "handshakes and SHUTDOWNs",
  mtu: "longer than the MTU", mixed_train: "trains of several sessions", checksum: "checksum", reused: "of an ended session",
  shield: "malformed", lost: "lost",
};

// kernelFacts returns pairs of a name and a text; none if the operator has turned it off.
export function kernelFacts(path) {
  if (!path || (!path.on && !path.reason)) return [];
  if (!path.on) return [["Kernel path", `off: ${path.reason}`]];
  return [["Kernel path", counted(path.sessions, "session")], ...path.devices.map((d) => [`at ${d.name}`, atDevice(d)])];
}

function atDevice(device) {
  if (device.problem) return `not attached: ${device.problem}`;
  const left = Object.entries(device.up).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  if (left.length === 0) return "attached";
  return `attached; left to the shards: ${left.map(([reason, n]) => `${count(n)} ${reasons[reason] ?? reason}`).join(", ")}`;
}
