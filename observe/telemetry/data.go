package telemetry

import (
	"time"

	"srtrelay/wire"
)

const (
	// maxGap is the largest jump ahead that counts as loss: libsrt's default flow
	// window, beyond which a sender waits for an ACK. After a larger jump the record
	// restarts: a link of a bonding group has taken over, or the packet is forged.
	maxGap = 25600
	// maxStrays packets in a row from behind the window also restart the record: else
	// one forged packet from far ahead would stop the meter for good.
	maxStrays = 32
	// copyAge is the age below which a repeated retransmission is a duplicate made by
	// the network: libsrt's shortest NAK period is 20 ms.
	copyAge = 10 * time.Millisecond
)

// data handles a data packet of a length in bytes; p may be its header only.
func (r *record) data(now time.Duration, p wire.Packet, length int) {
	r.Packets++
	r.Bytes += uint64(length - wire.HeaderSize)
	r.last = now
	seq, word := p.Sequence(), p.TypeInfo()
	message := word & ((wire.MessageMask | wire.RexmitBit) &^ r.rexmit)
	if seq == r.next && word&(wire.KeyMask|r.rexmit) == r.expect && message != 0 {
		r.next = (seq + 1) & wire.SequenceMask
		r.strays = 0
		if r.next%windowSize == 0 {
			r.catchUp() // next must not come round to marked
		}
		return
	}
	switch {
	case message == 0:
		r.Filter++
	case r.stale():
		if word&r.rexmit != 0 {
			r.Retransmitted++ // of one that passed in the gap
		} else {
			r.originalAfterGap(seq, word&wire.KeyMask)
		}
	case word&r.rexmit != 0:
		r.Retransmitted++
		r.retransmission(now, seq)
	default:
		r.original(now, seq, word&wire.KeyMask)
	}
}

// catchUp sets the bits of the packets that have passed in order. It is put off until the
// window is needed, because the window takes cache lines of its own.
func (r *record) catchUp() {
	r.seen.markAll(r.marked, r.behind())
	r.marked = r.next
}

// behind returns how many packets have passed and have no bits yet.
func (r *record) behind() uint32 { return (r.next - r.marked) & wire.SequenceMask }

// setRexmit sets whether bit 26 marks retransmissions.
func (r *record) setRexmit(yes bool) {
	r.rexmit = 0
	if yes {
		r.rexmit = wire.RexmitBit
	}
}

// original handles a packet without the R bit that is not the expected one.
func (r *record) original(now time.Duration, seq, key uint32) {
	r.catchUp()
	d := wire.Ahead(seq, r.next)
	switch {
	case d > maxGap:
		r.restart(seq)
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
		r.note(now, seq, kindLate)
		return
	}
	// Only the newest packet shows a key refresh: a late one may still be encrypted
	// with the old key.
	if old := r.expect; key != old {
		r.expect = key
		if key != 0 && old != 0 {
			r.KeyRefreshes++
		}
	}
}

// retransmission handles a packet with the R bit. Whether its first copy passed the
// relay shows on which side that was lost.
func (r *record) retransmission(now time.Duration, seq uint32) {
	r.catchUp()
	d := wire.Ahead(seq, r.next)
	switch {
	case d > maxGap:
		r.restart(seq)
	case d >= 0: // the newest packets were lost, and none came after them
		r.LostBefore += uint64(d) + 1
		r.advance(seq, uint32(d))
	case -d > windowSize:
		return // behind the window
	case !r.seen.has(seq):
		r.seen.mark(seq)
	default:
		r.alreadyForwarded(now, seq)
		return
	}
	r.note(now, seq, kindRetransmitted)
}

// alreadyForwarded handles a retransmission of a packet that has passed before.
func (r *record) alreadyForwarded(now time.Duration, seq uint32) {
	o := r.find(seq)
	switch {
	case o == nil:
		r.LostBehind++
		r.note(now, seq, kindRetransmitted)
	case o.kind() == kindLate:
		// The receiver asked for it because it was late; it was not lost.
		*o = notePacket(now, seq, kindRetransmitted)
	case o.age(now) < copyAge:
		r.Duplicated++
	case o.age(now) < r.roundTrip():
		// The receiver asked again while the last retransmission was on its way.
	default:
		r.LostBehind++
		*o = notePacket(now, seq, kindRetransmitted)
	}
}

// roundTrip returns the least time after which a packet that passes now can be back as
// a retransmission: the receiver's RTT plus twice its variance.
func (r *record) roundTrip() time.Duration {
	return min(micros(r.receiver.RTT)+2*micros(r.receiver.RTTVar), ackTimeout)
}

// advance makes seq the newest; the gap sequence numbers before it are missing.
func (r *record) advance(seq, gap uint32) {
	r.seen.skip(r.next, gap)
	r.seen.mark(seq)
	r.next = (seq + 1) & wire.SequenceMask
	r.marked = r.next
	r.strays = 0
}

// stray handles a packet from behind the window.
func (r *record) stray(seq uint32) {
	if r.strays++; r.strays >= maxStrays {
		r.restart(seq)
	}
}

// restart begins anew with seq. All packets before it count as forwarded.
func (r *record) restart(seq uint32) {
	r.seen.fill()
	r.next = (seq + 1) & wire.SequenceMask
	r.marked = r.next
	r.strays = 0
}

// notedPacket is a retransmission or a late packet. A record keeps the last of them: of a
// stream of 20 Mbit/s that loses 5 %, those of the last 600 ms, which is the longest
// round trip in use.
type notedPacket struct {
	at     uint32 // microseconds, which wrap
	packet uint32 // sequence number, and the kind in the bit that it leaves
}

// packetKind is the kind of a notedPacket.
type packetKind uint32

const (
	kindLate          packetKind = 0                     // came after its successors
	kindRetransmitted packetKind = wire.SequenceMask + 1 // had the R bit
)

func notePacket(now time.Duration, seq uint32, kind packetKind) notedPacket {
	return notedPacket{stamp(now), seq | uint32(kind)}
}

func (o *notedPacket) kind() packetKind { return packetKind(o.packet) & kindRetransmitted }

func (o *notedPacket) age(now time.Duration) time.Duration { return micros(stamp(now) - o.at) }

// note stores a packet in place of the oldest.
func (r *record) note(now time.Duration, seq uint32, kind packetKind) {
	r.noted[r.nextNote] = notePacket(now, seq, kind)
	r.nextNote = (r.nextNote + 1) % uint8(len(r.noted))
}

// find returns the note of a sequence number, or nil. There is at most one.
func (r *record) find(seq uint32) *notedPacket {
	for i := range r.noted {
		if o := &r.noted[i]; o.packet&wire.SequenceMask == seq && o.at != 0 {
			return o
		}
	}
	return nil
}
