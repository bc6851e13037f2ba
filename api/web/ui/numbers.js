// Formats all numbers of the page, so that they are rounded alike: three figures, a unit,
// and a dash for an unknown one.

export const unknown = "–";

const missing = (value) => value === undefined || value === null || !Number.isFinite(value);

// Three figures: 9.99, 99.9, 999.
function decimals(value) {
  if (Math.abs(value) < 9.995) return 2;
  return Math.abs(value) < 99.95 ? 1 : 0;
}

function figures(value) {
  return value.toFixed(decimals(value));
}

// Chooses a unit, each a thousand times the one before. What would round to 1000 gets the
// next.
function scaled(value, units) {
  let unit = 0;
  while (unit < units.length - 1 && Math.abs(value) >= 999.5) {
    value /= 1000;
    unit++;
  }
  return [unit === 0 ? value.toFixed(0) : figures(value), units[unit]];
}

function joined(value, units) {
  if (missing(value)) return unknown;
  return scaled(value, units).join(" ");
}

const bits = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];
const bytesUnits = ["B", "kB", "MB", "GB", "TB", "PB"];

export const bitrate = (value) => joined(value, bits);
export const bytes = (value) => joined(value, bytesUnits);
export const millis = (value) => (missing(value) ? unknown : `${figures(value)} ms`);

export function percent(value) {
  if (missing(value)) return unknown;
  if (value === 0) return "0 %";
  if (value > 0 && value < 0.005) return "<0.01 %";
  return `${figures(value)} %`;
}

// A number per second: whole below a thousand, then 12.3k.
export function rate(value) {
  if (missing(value)) return unknown;
  return scaled(value, ["", "k", "M", "G"]).join("");
}

export const packets = (value) => (missing(value) ? unknown : `${rate(value)} packets/s`);

// A count is exact, so that an operator can compare it with other tools.
export function count(value) {
  if (missing(value)) return unknown;
  return Math.trunc(value).toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

// "1 session", "2 sessions".
export const counted = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

export function duration(seconds) {
  if (missing(seconds)) return unknown;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

const two = (n) => String(n).padStart(2, "0");

// clock returns the time of day. With millis it has milliseconds: many events happen within
// one second.
export function clock(text, millis = false) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return unknown;
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}${millis ? `.${String(at.getMilliseconds()).padStart(3, "0")}` : ""}`;
}

export function day(text) {
  const at = new Date(text);
  if (!text || Number.isNaN(at.getTime()) || at.getFullYear() < 1971) return unknown;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

export const moment = (text) => (day(text) === unknown ? unknown : `${day(text)} ${clock(text)}`);
