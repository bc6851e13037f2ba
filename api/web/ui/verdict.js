// "Is it the caller's network or mine?": one sentence, from the loss and the RTT
// of the two networks beside the relay.

import { millis, percent } from "./numbers.js";

// Below this share, in percent, loss is nothing to look into; from the second
// on, repeating it costs what viewers notice.
const noticed = 0.1;
const heavy = 1;
// SRT's rule of thumb: a lost packet is asked for and repeated in time if the
// latency is three round trips at least.
const roundTrips = 3;
// With so much more loss on one side, that one is named: the relay can only
// guess which of several repetitions arrived, and so blames the other a little.
const mostly = 4;

const known = (value) => value !== undefined && value !== null;

// level of one network: unknown, good, some or bad.
export function level(loss) {
  if (!known(loss)) return "unknown";
  if (loss < noticed) return "good";
  return loss < heavy ? "some" : "bad";
}

export const levelText = { unknown: "no media at present", good: "clean", some: "loses a little", bad: "loses media" };

const worst = (a, b) => ["bad", "some", "good", "unknown"].find((l) => l === a || l === b);

// verdict takes percent, and what tightest found.
export function verdict({ callerLoss, backendLoss, tight }) {
  const caller = level(callerLoss);
  const backend = level(backendLoss);
  const found = { level: worst(caller, backend), text: lossText(caller, backend, callerLoss, backendLoss) };
  if (tight) {
    found.text += ` A latency of ${tight.latency} ms is short for an RTT of ${millis(tight.rtt)}: what is lost cannot always be repeated in time.`;
    if (found.level === "good") found.level = "some";
  }
  return found;
}

function lossText(caller, backend, callerLoss, backendLoss) {
  const callers = caller === "some" || caller === "bad";
  const backends = backend === "some" || backend === "bad";
  if (caller === "unknown" && backend === "unknown") return "No media at present, so there is nothing to judge.";
  if (callers && backends && callerLoss >= mostly * backendLoss) {
    return `It is mostly the caller's network: it loses ${percent(callerLoss)} of the media, yours ${percent(backendLoss)}.`;
  }
  if (callers && backends && backendLoss >= mostly * callerLoss) {
    return `It is mostly your network: between relay and backend ${percent(backendLoss)} of the media is lost, on the caller's ${percent(callerLoss)}.`;
  }
  if (callers && backends) {
    return `Both networks lose media: the caller's ${percent(callerLoss)}, yours ${percent(backendLoss)}.`;
  }
  if (callers) {
    const other = backend === "good" ? "yours is clean" : "of yours nothing is known";
    return `It is the caller's network: it loses ${percent(callerLoss)} of the media; ${other}.`;
  }
  if (backends) {
    const other = caller === "good" ? "the caller's is clean" : "of the caller's nothing is known";
    return `It is your network: between relay and backend ${percent(backendLoss)} of the media is lost; ${other}.`;
  }
  if (caller === "unknown") return "Your network is clean; of the caller's nothing is known.";
  if (backend === "unknown") return "The caller's network is clean; of yours nothing is known.";
  return "Both networks are clean.";
}

// tightest is the session whose latency is shortest for its round trips over
// both networks, if it is too short: {latency, rtt}, or null.
export function tightest(sessions) {
  let found = null;
  for (const s of sessions) {
    const latency = (s.role === "publisher" ? s.srt.latency_to_backend_ms : s.srt.latency_to_caller_ms) ?? 0;
    if (!latency || !known(s.caller_leg.rtt_ms) || !known(s.backend_leg.rtt_ms)) continue;
    const rtt = s.caller_leg.rtt_ms + s.backend_leg.rtt_ms;
    if (rtt * roundTrips > latency && (!found || rtt / latency > found.rtt / found.latency)) found = { latency, rtt };
  }
  return found;
}
