// Package telemetry measures a session's quality from the datagrams that pass. SRT
// leaves sequence numbers, retransmission flags, ACKs and NAKs in the clear, even if the
// payload is encrypted. The package sends nothing and adds nothing to a stream.
//
// It measures each way through the relay: the RTT between relay and sender (rtt.go), gaps,
// repetitions. Package streams makes the RTT and the loss of a leg from both ways (legs.go).
//
// It does no I/O and has no clock: the shard passes the time of each datagram. It must
// not know what a session is (shard), nor what its numbers are used for (streams, api).
// A peer can send anything: every loop is bounded, and false reports spoil only the
// numbers of their own session.
package telemetry

import (
	"time"

	"srtrelay/wire"
)

// Way is a direction through the relay.
type Way uint8

// The two ways. A publisher's media goes to the backend, a player's to the
// caller.
const (
	ToBackend Way = iota
	ToCaller
)

// Opposite returns the other way, on which the receiver's reports travel.
func (w Way) Opposite() Way { return w ^ 1 }

// Meter refers to a session's records in a Slab. It is a plain value of the session; it
// has no records until a data packet, or a report about one, passes.
type Meter struct {
	place  [2]uint32 // by way; 0 is none
	isn    uint32    // and unknownStart
	rexmit [2]bool   // by way: bit 26 marks retransmissions
}

// Begin returns the meter of a connection whose initial sequence number is isn, in SRT
// the same for both ways.
func Begin(isn uint32, t *Terms) Meter {
	return Meter{isn: isn & wire.SequenceMask, rexmit: t.rexmit()}
}

// start returns the sequence number of the first data packet.
func (m *Meter) start() uint32 { return m.isn & wire.SequenceMask }

// Observe handles a datagram that is forwarded on a way. It returns true if the datagram
// holds terms: the caller should then call Terms.Learn and Settle.
//
// A data packet in order touches one cache line of the session's record and allocates
// nothing. The first one of a session may allocate a chunk of records.
func (s *Slab) Observe(m *Meter, way Way, now time.Duration, p wire.Packet) (terms bool) {
	if !p.IsControl() {
		if m.place[way] == 0 {
			s.allocate(m, way)
		}
		s.at(m.place[way]).data(now, p, len(p))
		return false
	}
	return s.control(m, way, now, p)
}

// control handles a control packet. A receiver's reports travel against its media and
// count for the media's way.
func (s *Slab) control(m *Meter, way Way, now time.Duration, p wire.Packet) (terms bool) {
	of := way
	switch p.Control() {
	case wire.TypeACK, wire.TypeNAK:
		of = way.Opposite()
	case wire.TypeACKACK, wire.TypeDropReq:
	case wire.TypeUser:
		return ObserveTerms(p)
	default:
		return false // KEEPALIVE and the like: an idle session needs no record
	}
	if m.place[of] == 0 {
		s.allocate(m, of)
	}
	s.at(m.place[of]).control(now, p)
	return false
}

// Settle applies terms that came after the handshake.
func (s *Slab) Settle(m *Meter, t *Terms) {
	m.rexmit = t.rexmit()
	for way, place := range m.place {
		if place != 0 {
			s.at(place).setRexmit(m.rexmit[way])
		}
	}
}

// Newest returns the sequence number after the newest data packet of a way and when that
// passed; false if none has, or in a gap.
func (s *Slab) Newest(m *Meter, way Way) (next uint32, at time.Duration, ok bool) {
	if !s.Measures(m, way) {
		return 0, 0, false
	}
	r := s.at(m.place[way])
	return r.next, r.last, true
}

// LastData returns when the last data packet passed on either way; false if none has.
func (s *Slab) LastData(m *Meter) (last time.Duration, ok bool) {
	for _, place := range m.place {
		if place != 0 {
			if r := s.at(place); r.Packets > 0 {
				last, ok = max(last, r.last), true
			}
		}
	}
	return last, ok
}

// Report returns the quality of both ways.
func (s *Slab) Report(m *Meter) (ways [2]Quality) {
	for way, place := range m.place {
		if place != 0 {
			ways[way] = s.at(place).report()
			if s.paused {
				ways[way].Timed, ways[way].Heard = false, false
			}
		}
	}
	return ways
}

// Release frees a meter's records and resets the meter.
func (s *Slab) Release(m *Meter) {
	for _, place := range m.place {
		if place != 0 {
			s.free = append(s.free, place)
		}
	}
	*m = Meter{}
}

const (
	chunkBits = 7
	chunkSize = 1 << chunkBits // records allocated at once: 160 KiB
	chunkMask = chunkSize - 1
)

// Slab allocates the records of a shard's sessions. Its chunks hold no pointers for the
// garbage collector; free records are reused last in, first out. It belongs to one
// shard. The zero Slab is ready for use.
type Slab struct {
	chunks []*[chunkSize]record
	free   []uint32 // places; the first place is 1
	paused bool
}

func (s *Slab) at(place uint32) *record {
	place--
	return &s.chunks[place>>chunkBits][place&chunkMask]
}

// Reserve makes memory for so many records, and has the kernel provide it.
func (s *Slab) Reserve(records int) {
	for len(s.free) < records {
		s.extend()
		clear(s.chunks[len(s.chunks)-1][:])
	}
}

func (s *Slab) extend() {
	base := uint32(len(s.chunks)) << chunkBits
	s.chunks = append(s.chunks, new([chunkSize]record))
	for i := range uint32(chunkSize) {
		s.free = append(s.free, base+chunkSize-i)
	}
}

// allocate gives a meter a new record for a way.
func (s *Slab) allocate(m *Meter, way Way) {
	if len(s.free) == 0 {
		s.extend()
	}
	last := len(s.free) - 1
	m.place[way] = s.free[last]
	s.free = s.free[:last]
	r := s.at(m.place[way])
	*r = record{next: m.start(), marked: m.start()}
	if m.isn&unknownStart != 0 {
		r.expect = staleBit
	}
	r.setRexmit(m.rexmit[way])
}
