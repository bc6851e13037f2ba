package shard

import (
	"srtrelay/addr"
	"srtrelay/udp"
	"srtrelay/wire"
)

// fromCaller takes one datagram from the caller's side to its fate.
func (s *Shard) fromCaller(front uint8, d *udp.Datagram, b []byte) {
	c := &s.counters
	c.inc(ReceivedFront)
	c.add(ReceivedFrontBytes, uint64(len(b)))
	if len(b) < wire.HeaderSize {
		c.inc(DropShort)
		return
	}
	p := wire.Packet(b)
	id := p.DestID()
	if id == 0 {
		c.inc(s.toListener(front, d, b))
		return
	}
	i, ss := s.byFront(front, &d.From, id)
	if ss == nil {
		c.inc(DropForeignCaller)
		return
	}
	c.inc(s.toBackend(i, ss, p))
}

// toBackend relays a caller's datagram of a session.
func (s *Shard) toBackend(i uint32, ss *Session, p wire.Packet) Counter {
	if ss.state != established {
		s.callerStraggles(ss)
		return DropClosed
	}
	ss.heard = true
	ss.callerSeen = s.now
	if ss.unanswered == 0 {
		ss.unanswered = s.now
	}
	n := uint64(len(p))
	ss.toBackend.Packets++
	ss.toBackend.Bytes += n
	s.slots[ss.slot].bytes += n
	s.counters.add(ForwardedToBackendBytes, n)
	s.backs[ss.port].out.Add(ss.backend, addr.IP{}, p)
	if p.Is(wire.TypeShutdown) {
		s.end(i, ss, ByCaller)
	}
	return ForwardedToBackend
}
