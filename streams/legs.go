package streams

import (
	"time"

	"srtrelay/api/answer"
	"srtrelay/shard"
	"srtrelay/telemetry"
)

// roundTrip is that between the relay and one peer.
type roundTrip struct {
	rtt, variance time.Duration
	measured      bool
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
func legs(v *shard.View) (caller, backend *roundTrip) {
	up, down := &v.Ways[telemetry.ToBackend], &v.Ways[telemetry.ToCaller]
	caller, backend = measured(up), measured(down)
	if caller == nil {
		caller = rest(down)
	}
	if backend == nil {
		backend = rest(up)
	}
	return caller, backend
}

func measured(q *telemetry.Quality) *roundTrip {
	if !q.Timed {
		return nil
	}
	return &roundTrip{q.RTT, q.RTTVar, true}
}

func rest(q *telemetry.Quality) *roundTrip {
	if !q.Timed || !whole(q) {
		return nil
	}
	return &roundTrip{rtt: max(time.Duration(q.Receiver.RTT)*time.Microsecond-q.RTT, 0)}
}

// whole reports whether the receiver has measured the whole round trip.
func whole(q *telemetry.Quality) bool {
	return q.Heard && (q.Receiver.RTT != unmeasuredRTT || q.Receiver.RTTVar != unmeasuredRTTVar)
}

func leg(trip *roundTrip, now, total ratio) answer.Leg {
	l := answer.Leg{LossPercent: percent(now), TotalLossPercent: percent(total)}
	if trip != nil {
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
