package streams

import (
	"time"

	"srtrelay/api/answer"
	"srtrelay/observe/telemetry"
	"srtrelay/shard"
)

// roundTrip is the RTT between the relay and one peer. It is a plain value, because there
// are two per session and second.
type roundTrip struct {
	rtt, variance   time.Duration
	known, measured bool
}

// The values in libsrt's ACKs before the receiver has measured anything, in microseconds.
const (
	unmeasuredRTT    = 100_000
	unmeasuredRTTVar = 50_000
)

// roundTrips returns the RTT between the relay and both peers.
//
// On the side of the media's sender the relay measures the RTT itself, from ACK to
// ACKACK. The receiver measures the whole path, so the difference is the RTT of its
// side. With media both ways both sides are measured; without media neither is known.
func roundTrips(v *shard.Sample) (caller, backend roundTrip) {
	up, down := &v.Ways[telemetry.ToBackend], &v.Ways[telemetry.ToCaller]
	return roundTripOf(up, down), roundTripOf(down, up)
}

// roundTripOf returns the RTT to the peer that sends the media of from and receives the
// media of to.
func roundTripOf(from, to *telemetry.Quality) roundTrip {
	switch {
	case from.Timed:
		return roundTrip{from.RTT, from.RTTVar, true, true}
	case to.Timed && hasMeasured(to):
		return roundTrip{rtt: max(time.Duration(to.Receiver.RTT)*time.Microsecond-to.RTT, 0), known: true}
	}
	return roundTrip{}
}

// hasMeasured reports whether the receiver has measured an RTT.
func hasMeasured(q *telemetry.Quality) bool {
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

// ratio is a share of lost packets; unknown if none was sent.
type ratio struct{ lost, sent uint64 }

func (r ratio) known() bool { return r.sent > 0 }

// share returns lost/sent, from 0 to 1.
func (r ratio) share() float64 { return float64(r.lost) / float64(r.sent) }

// clamped limits the share to 100 %, whatever a peer reports.
func (r ratio) clamped() ratio {
	r.lost = min(r.lost, r.sent)
	return r
}

// mediaCounts are the counts of one way from which loss is computed, in all or within a
// second.
type mediaCounts struct {
	packets        uint64
	repeats        uint64 // retransmissions and FEC packets
	before, behind uint64 // lost before and behind the relay
}

func mediaOf(v *shard.Sample, way telemetry.Way) mediaCounts {
	c := &v.Ways[way].Counts
	return mediaCounts{c.Packets, c.Retransmitted + c.Filter, c.LostBefore, c.LostBehind}
}

// originals returns the packets that are no repeats.
func (m mediaCounts) originals() uint64 { return growthOf(m.packets, m.repeats) }

// lossBySide returns the loss on both sides. A packet is lost on the caller's side if it
// came from the caller and did not reach the relay, or went to the caller and had to be
// retransmitted; likewise on the backend's.
func lossBySide(up, down mediaCounts) (caller, backend ratio) {
	caller = ratio{up.before + down.behind, up.originals() + up.before + down.packets}
	backend = ratio{down.before + up.behind, down.originals() + down.before + up.packets}
	return caller.clamped(), backend.clamped()
}

// growthOf returns a-b, or 0 if a is less: loss decreases when a packet was only late.
func growthOf(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}
