// Package telemetry reads a session's quality off the datagrams that pass:
// SRT leaves sequence numbers, retransmission marks, ACKs and NAKs in the
// clear even where the media is encrypted. Nothing is asked of either peer,
// nothing added to a stream.
//
// It is sans-I/O and has no clock: the shard says when each datagram came. It
// must not know what a session is (shard), nor what becomes of its numbers
// (streams, api). A peer can send anything: every loop here is bounded, and a
// lie spoils the numbers of its own session only.
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

// Back returns the other way, which the receiver's reports take.
func (w Way) Back() Way { return w ^ 1 }

// Meter is a session's place in a Slab. It belongs to the session, is a plain
// value, and takes no more memory until media, or a report of it, passes.
type Meter struct {
	place  [2]uint32 // by way; 0 is none
	isn    uint32
	rexmit [2]bool // by way: bit 26 marks retransmissions
}

// Begin makes a meter for a connection whose first data packets bear isn, as
// both ways' do in SRT.
func Begin(isn uint32, t *Terms) Meter {
	return Meter{isn: isn & wire.SequenceMask, rexmit: t.rexmit()}
}

// Observe takes a datagram that is forwarded on a way. True says that it
// brings terms: the owner should have them learn from it and settle them.
//
// For data in order it touches two cache lines of the session's record and
// allocates nothing; the first of a session's media may take a fresh chunk of
// records from the heap, for its own and the next hundred sessions.
func (s *Slab) Observe(m *Meter, way Way, now time.Duration, p wire.Packet) (terms bool) {
	if !p.IsControl() {
		if m.place[way] == 0 {
			s.enter(m, way)
		}
		s.at(m.place[way]).data(now, p)
		return false
	}
	return s.control(m, way, now, p)
}

// control takes a control packet. What a receiver says goes against its media,
// and is counted with that.
func (s *Slab) control(m *Meter, way Way, now time.Duration, p wire.Packet) (terms bool) {
	of := way
	switch p.Control() {
	case wire.TypeACK, wire.TypeNAK:
		of = way.Back()
	case wire.TypeACKACK, wire.TypeDropReq:
	case wire.TypeUser:
		return p.Subtype() >= wire.SubtypeHSReq && p.Subtype() <= wire.SubtypeKMRsp
	default:
		return false // KEEPALIVE and the like: an idle session stays small
	}
	if m.place[of] == 0 {
		s.enter(m, of)
	}
	s.at(m.place[of]).control(now, p)
	return false
}

// Settle applies terms that came after the beginning.
func (s *Slab) Settle(m *Meter, t *Terms) {
	m.rexmit = t.rexmit()
	for way, place := range m.place {
		if place != 0 {
			s.at(place).setRexmit(m.rexmit[way])
		}
	}
}

// LastData returns when media last passed either way; false if none has.
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

// Report copies what the meter has found.
func (s *Slab) Report(m *Meter) (ways [2]Quality) {
	for way, place := range m.place {
		if place != 0 {
			ways[way] = s.at(place).report()
		}
	}
	return ways
}

// Release gives a meter's records back. The meter is then as if new.
func (s *Slab) Release(m *Meter) {
	for _, place := range m.place {
		if place != 0 {
			s.free = append(s.free, place)
		}
	}
	*m = Meter{}
}
