// Answers in one sentence whether the caller's network or the operator's own is at fault,
// from the loss and the RTT of both.

import { millis, percent } from "./numbers.js";

// Loss in percent. Below the first value it is harmless, from the second on viewers notice
// it.
const noticed = 0.1;
const heavy = 1;
// SRT's rule of thumb: lost packets are retransmitted in time if the latency is at least
// three round trips.
const roundTrips = 3;
// If one side has so many times the loss of the other, only that side is named: the relay can
// only guess which of several retransmissions arrived, and so counts a little for the other.
const mostly = 4;

const known = (value) => value !== undefined && value !== null;

// level returns the level of one network: unknown, good, some or bad.
export function level(loss) {
  if (!known(loss)) return "unknown";
  if (loss < noticed) return "good";
  return loss < heavy ? "some" : "bad";
}

export const levelText = { unknown: "no media at present", good: "clean", some: "loses a little", bad: "loses media" };

const worst = (a, b) => ["bad", "some", "good", "unknown"].find((l) => l === a || l === b);

// verdict takes loss in percent, the result of tightest, and of a stream with several sessions
// how many of them have media and how many lose some on each side: {all, caller, backend}.
export function verdict({ callerLoss, backendLoss, tight, sessions }) {
  const caller = level(callerLoss);
  const backend = level(backendLoss);
  const found = { level: worst(caller, backend), text: lossText(caller, backend, callerLoss, backendLoss, sessions) };
  if (tight) {
    found.text += ` A latency of ${tight.latency} ms is short for an RTT of ${millis(tight.rtt)}: what is lost cannot always be repeated in time.`;
    if (found.level === "good") found.level = "some";
  }
  return found;
}

// concerned says in how many sessions, as " in 3 of 12 sessions".
function concerned(sessions, side) {
  if (!sessions || sessions.all < 2) return "";
  const n = sessions[side];
  return n === sessions.all ? ` in all ${n} sessions` : ` in ${n} of ${sessions.all} sessions`;
}

function lossText(caller, backend, callerLoss, backendLoss, sessions) {
  const inCallers = concerned(sessions, "caller");
  const inBackends = concerned(sessions, "backend");
  const callers = caller === "some" || caller === "bad";
  const backends = backend === "some" || backend === "bad";
  if (caller === "unknown" && backend === "unknown") return "No media at present, so there is nothing to judge.";
  if (callers && backends && callerLoss >= mostly * backendLoss) {
    return `It is mostly the caller's network${inCallers}: it loses ${percent(callerLoss)} of the media, yours ${percent(backendLoss)}.`;
  }
  if (callers && backends && backendLoss >= mostly * callerLoss) {
    return `It is mostly your network${inBackends}: between relay and backend ${percent(backendLoss)} of the media is lost, on the caller's ${percent(callerLoss)}.`;
  }
  if (callers && backends) {
    return `Both networks lose media: the caller's ${percent(callerLoss)}${inCallers}, yours ${percent(backendLoss)}${inBackends}.`;
  }
  if (callers) {
    const other = backend === "good" ? "yours is clean" : "of yours nothing is known";
    return `It is the caller's network${inCallers}: it loses ${percent(callerLoss)} of the media; ${other}.`;
  }
  if (backends) {
    const other = caller === "good" ? "the caller's is clean" : "of the caller's nothing is known";
    return `It is your network${inBackends}: between relay and backend ${percent(backendLoss)} of the media is lost; ${other}.`;
  }
  if (caller === "unknown") return "Your network is clean; of the caller's nothing is known.";
  if (backend === "unknown") return "The caller's network is clean; of yours nothing is known.";
  return "Both networks are clean.";
}

// tightest returns {latency, rtt} of the session whose latency is shortest for its round
// trips over both networks, if it is too short; otherwise null.
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
