package telemetry

import (
	"time"

	"srtrelay/wire"
)

const (
	// maxGap is the largest jump ahead that counts as loss: libsrt's default
	// flow window, beyond which no sender goes on without an ACK. A larger one
	// is a new beginning: a bonding group's link that takes over, or a lie.
	maxGap = 25600
	// maxStrays in a row from behind the window are a new beginning as well:
	// else one forged packet from far ahead would silence a meter for good.
	maxStrays = 32
	// copyAge is the age below which the same retransmission is a copy made
	// by the network: no receiver asks again sooner than every 20 ms, libsrt's
	// shortest NAK period.
	copyAge = 10 * time.Millisecond
)

// data takes a data packet.
func (r *record) data(now time.Duration, p wire.Packet) {
	r.Packets++
	r.Bytes += uint64(len(p) - wire.HeaderSize)
	r.last = now
	seq, word := p.Sequence(), p.TypeInfo()
	message := word & ((wire.MessageMask | wire.RexmitBit) &^ r.rexmit)
	if seq == r.next && word&(wire.KeyMask|r.rexmit) == r.expect && message != 0 {
		r.seen.mark(seq)
		r.next = (seq + 1) & wire.SequenceMask
		r.strays = 0
		return
	}
	switch {
	case message == 0:
		r.Filter++
	case word&r.rexmit != 0:
		r.Retransmitted++
		r.retransmission(now, seq)
	default:
		r.original(now, seq, word&wire.KeyMask)
	}
}

// setRexmit says whether bit 26 marks retransmissions.
func (r *record) setRexmit(yes bool) {
	r.rexmit = 0
	if yes {
		r.rexmit = wire.RexmitBit
	}
}

// original takes a packet without the R bit that is not just the next one.
func (r *record) original(now time.Duration, seq, key uint32) {
	d := wire.Ahead(seq, r.next)
	switch {
	case d > maxGap:
		r.begin(seq)
	case d >= 0:
		r.LostBefore += uint64(d)
		r.advance(seq, uint32(d))
	case -d > windowSize:
		r.stray(seq)
		return
	case r.seen.has(seq):
		r.Duplicated++
		return
	default:
		r.Reordered++
		r.LostBefore -= min(r.LostBefore, 1)
		r.seen.mark(seq)
		r.note(now, seq, late)
		return
	}
	// Only the newest packets tell of a refresh: an old one that comes late
	// is still under the old key.
	if old := r.expect; key != old {
		r.expect = key
		if key != 0 && old != 0 {
			r.KeyRefreshes++
		}
	}
}

// retransmission takes a packet with the R bit: where its first copy was lost
// shows in whether that has passed.
func (r *record) retransmission(now time.Duration, seq uint32) {
	d := wire.Ahead(seq, r.next)
	switch {
	case d > maxGap:
		r.begin(seq)
	case d >= 0: // the last ones were lost, and nothing came after them
		r.LostBefore += uint64(d) + 1
		r.advance(seq, uint32(d))
	case -d > windowSize:
		return // too long ago to know
	case !r.seen.has(seq):
		r.seen.mark(seq)
	default:
		r.sentAgain(now, seq)
		return
	}
	r.note(now, seq, retransmitted)
}

// sentAgain takes a retransmission of what the relay had forwarded.
func (r *record) sentAgain(now time.Duration, seq uint32) {
	o := r.find(seq)
	switch {
	case o == nil:
		r.LostBehind++
		r.note(now, seq, retransmitted)
	case o.kind() == late:
		// The receiver asked for it because it was late, not lost.
		*o = occurredAt(now, seq, retransmitted)
	case o.age(now) < copyAge:
		r.Duplicated++
	case o.age(now) < r.roundTrip():
		// The receiver asked again while the last one was on its way.
	default:
		r.LostBehind++
		*o = occurredAt(now, seq, retransmitted)
	}
}

// roundTrip is how long it takes at least until the receiver has missed what
// passes now, and the sender's answer to its NAK is here. That is the whole
// round trip, and how far it wavers.
func (r *record) roundTrip() time.Duration {
	return min(micros(r.receiver.RTT)+2*micros(r.receiver.RTTVar), ackKept)
}

// advance makes seq the newest; gap sequence numbers before it have not come.
func (r *record) advance(seq, gap uint32) {
	r.seen.skip(r.next, gap)
	r.seen.mark(seq)
	r.next = (seq + 1) & wire.SequenceMask
	r.strays = 0
}

// stray takes a packet from so far behind that nothing is known of it.
func (r *record) stray(seq uint32) {
	if r.strays++; r.strays >= maxStrays {
		r.begin(seq)
	}
}

// begin forgets what came, and begins anew with seq. What was before counts as
// forwarded.
func (r *record) begin(seq uint32) {
	r.seen.fill()
	r.next = (seq + 1) & wire.SequenceMask
	r.strays = 0
}
