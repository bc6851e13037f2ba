// How near the relay is to its limits, and what it has given up for that.

// overloadFacts returns pairs of a name and a text: at a step also what each input reads.
export function overloadFacts(o) {
  if (!o?.step) return []; // of a relay of an earlier version
  const at = o.steps.find((step) => step.name === o.step);
  const state = !o.on ? "off" : at ? `step ${at.name}: ${at.effect}` : "no step";
  const facts = [["Overload", `${state}; pressure ${o.pressure.toFixed(2)}${o.input ? ` by ${o.input}` : ""}`]];
  if (at) for (const i of o.inputs) facts.push([`by ${i.name}`, `${i.pressure?.toFixed(2) ?? "–"}${i.detail ? `: ${i.detail}` : ""}`]);
  return facts;
}
