package shard

import (
	"srtrelay/addr"
	"srtrelay/observe/capture"
	"srtrelay/observe/telemetry"
	"srtrelay/udp"
	"srtrelay/wire"
)

// fromCaller takes one datagram from the caller's side to its fate.
func (s *Shard) fromCaller(front uint8, d *udp.Datagram, p wire.Packet) Counter {
	id := p.DestID()
	if id == 0 {
		return s.toListener(front, d, p)
	}
	i, ss := s.byFront(front, &d.From, id)
	if ss == nil {
		return DropForeignCaller
	}
	return s.toBackend(i, ss, p)
}

// toBackend relays a caller's datagram of a session.
func (s *Shard) toBackend(i uint32, ss *Session, p wire.Packet) Counter {
	if ss.state != established {
		s.tap(ss, capture.ToBackend|capture.Received, p)
		s.callerStraggles(ss)
		return DropClosed
	}
	ss.responseUsed = true
	ss.callerSeen = s.now
	if ss.unanswered == 0 {
		ss.unanswered = s.now
	}
	n := uint64(len(p))
	ss.toBackend.Packets++
	ss.toBackend.Bytes += n
	s.slots[ss.slot].bytes += n
	s.counters.add(ForwardedToBackendBytes, n)
	if s.cfg.Telemetry {
		s.observe(i, ss, telemetry.ToBackend, p)
	}
	s.tap(ss, capture.ToBackend|capture.Forwarded, p)
	s.backs[ss.port].out.Add(ss.backend, addr.IP{}, ss.backendID, p)
	if p.Is(wire.TypeShutdown) {
		s.end(i, ss, ByCaller)
	}
	return ForwardedToBackend
}
