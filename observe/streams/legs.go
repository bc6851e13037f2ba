package streams

import (
	"time"

	"srtrelay/api/answer"
	"srtrelay/observe/telemetry"
	"srtrelay/shard"
)

// roundTrip is that between the relay and one peer, a plain value: a hundred
// thousand sessions have two of them every second.
type roundTrip struct {
	rtt, variance   time.Duration
	known, measured bool
}

// What libsrt's receiver says as long as it has measured nothing.
const (
	unmeasuredRTT    = 100_000
	unmeasuredRTTVar = 50_000
)

// legs parts the round trip of a session's media into that of its two sides.
//
// The relay measures the side that media comes from, by ACK and ACKACK. What
// the receiver measures is the whole, so that the rest is the other side. A
// session with media both ways has both sides measured; one without any has
// neither.
func legs(v *shard.View) (caller, backend roundTrip) {
	up, down := &v.Ways[telemetry.ToBackend], &v.Ways[telemetry.ToCaller]
	return side(up, down), side(down, up)
}

// side is the round trip to the peer that one way comes from and the other
// goes to.
func side(from, to *telemetry.Quality) roundTrip {
	switch {
	case from.Timed:
		return roundTrip{from.RTT, from.RTTVar, true, true}
	case to.Timed && whole(to):
		return roundTrip{rtt: max(time.Duration(to.Receiver.RTT)*time.Microsecond-to.RTT, 0), known: true}
	}
	return roundTrip{}
}

// whole reports whether the receiver has measured the whole round trip.
func whole(q *telemetry.Quality) bool {
	return q.Heard && (q.Receiver.RTT != unmeasuredRTT || q.Receiver.RTTVar != unmeasuredRTTVar)
}

func leg(trip roundTrip, now, total ratio) answer.Leg {
	l := answer.Leg{LossPercent: percent(now), TotalLossPercent: percent(total)}
	if trip.known {
		l.Measured = trip.measured
		l.RTTMillis = new(millis(trip.rtt))
		if trip.measured {
			l.RTTVarianceMillis = new(millis(trip.variance))
		}
	}
	return l
}

func percent(r ratio) *float64 {
	if !r.known() {
		return nil
	}
	return new(100 * r.share())
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
