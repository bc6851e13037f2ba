package telemetry

import (
	"time"

	"srtrelay/wire"
)

// Sequence is how far the data packets of a way have come: what somebody else must know to
// tell the expected packet from others.
type Sequence struct {
	Next   uint32 // sequence number after the newest
	Expect uint32 // key bits of an ordinary packet, as they stand in its message word
	Strays uint8  // packets in a row from behind the window
	Rexmit bool   // bit 26 marks retransmissions
}

// Sequence returns how far a way has come. Where datagrams do not pass the shard, the
// kernel's program follows the sequence numbers by the same rules (shard/kernelpath/bpf),
// and the meter is told by InOrder and ObserveHead.
func (s *Slab) Sequence(m *Meter, way Way) Sequence {
	if m.place[way] == 0 {
		return Sequence{Next: m.start(), Rexmit: m.rexmit[way]}
	}
	r := s.at(m.place[way])
	return Sequence{Next: r.next, Expect: r.expect &^ staleBit, Strays: r.strays, Rexmit: m.rexmit[way]}
}

// Measures reports whether data packets have passed on a way, so that Sequence is about them.
// In a gap, and until the next one after it, it is not.
func (s *Slab) Measures(m *Meter, way Way) bool {
	if m.place[way] == 0 || s.paused {
		return false
	}
	r := s.at(m.place[way])
	return r.Packets > 0 && !r.stale()
}

// LastACK returns the number of the last ACK that was forwarded to a way's sender; false if none
// is known.
func (s *Slab) LastACK(m *Meter, way Way) (number uint32, known bool) {
	if m.place[way] == 0 || s.paused {
		return 0, false
	}
	a := &s.at(m.place[way]).ackTimer
	newest := &a.recent[(int(a.turn)+len(a.recent)-1)%len(a.recent)] // also after its ACKACK
	return newest.number, newest.number != 0
}

// InOrder handles data packets that have passed elsewhere, all of them expected: up to the
// sequence number before next, with so many bytes of payload in all, the newest at last.
func (s *Slab) InOrder(m *Meter, way Way, next uint32, bytes uint64, last time.Duration) {
	if m.place[way] == 0 {
		if next == m.start() && bytes == 0 {
			return
		}
		s.allocate(m, way)
	}
	r := s.at(m.place[way])
	r.inOrder(next)
	r.Bytes += bytes
	r.last = max(r.last, last)
}

// BeginAt has the meter of a session that another process has observed begin anew at a sequence
// number: the packets before it count as passed, but are in no sum.
func (s *Slab) BeginAt(m *Meter, way Way, next uint32, last time.Duration) {
	if next == m.isn {
		return // none has passed
	}
	if m.place[way] == 0 {
		s.allocate(m, way)
	}
	r := s.at(m.place[way])
	r.restart((next - 1) & wire.SequenceMask)
	r.last = max(r.last, last)
}

// ObserveHead handles a datagram of a length that has passed elsewhere, of which only the
// head is known. next is the sequence number that was expected then. It returns true if
// the datagram holds terms, as Observe does.
func (s *Slab) ObserveHead(m *Meter, way Way, now time.Duration, head wire.Packet, length int, next uint32) (terms bool) {
	if head.IsControl() {
		return s.control(m, way, now, head)
	}
	s.InOrder(m, way, next, 0, 0)
	if m.place[way] == 0 {
		s.allocate(m, way)
	}
	s.at(m.place[way]).data(now, head, length)
	return false
}

// inOrder marks the packets before next as passed. One that lies behind is ignored: the
// record has been restarted meanwhile.
func (r *record) inOrder(next uint32) {
	n := wire.Ahead(next, r.next)
	if n != 0 && r.stale() {
		// How many have passed is not known.
		r.restart((next - 1) & wire.SequenceMask)
		r.expect &^= staleBit
		return
	}
	if n <= 0 {
		return
	}
	r.Packets += uint64(n)
	r.next, r.strays = next, 0
	if r.behind() >= windowSize {
		r.catchUp() // next must not come round to marked
	}
}
