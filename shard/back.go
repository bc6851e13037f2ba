package shard

import (
	"srtrelay/observe/capture"
	"srtrelay/observe/telemetry"
	"srtrelay/udp"
	"srtrelay/wire"
)

// fromBackend takes one datagram from the backends' side to its fate.
func (s *Shard) fromBackend(port uint8, d *udp.Datagram, p wire.Packet) Counter {
	i, ss := s.byBack(port, &d.From, p.DestID())
	if ss == nil {
		if s.orphanSpeaks(port, d.From, p) {
			return DropClosed
		}
		return s.probeReply(d, p)
	}
	return s.toCaller(i, ss, p)
}

// toCaller relays a backend's datagram of a session, or takes it as an answer
// to the handshake.
func (s *Shard) toCaller(i uint32, ss *Session, p wire.Packet) Counter {
	switch {
	case ss.state == connecting:
		return s.legReply(i, ss, p)
	case ss.state != established:
		s.tap(ss, capture.ToCaller|capture.Received, p)
		s.backendStraggles(ss, p)
		return DropClosed
	case p.Is(wire.TypeHandshake) && repeatsHandshake(ss, p):
		s.tap(ss, capture.ToCaller|capture.Received, p)
		return DropDuplicate
	}
	ss.backendSeen = s.now
	ss.unanswered = 0
	n := uint64(len(p))
	ss.toCaller.Packets++
	ss.toCaller.Bytes += n
	s.slots[ss.slot].bytes += n
	s.counters.add(ForwardedToCallerBytes, n)
	if s.cfg.Telemetry {
		s.observe(i, ss, telemetry.ToCaller, p)
	}
	s.tap(ss, capture.ToCaller|capture.Forwarded, p)
	s.fronts[ss.front].out.Add(ss.caller, ss.local, ss.callerID, p)
	if p.Is(wire.TypeShutdown) {
		s.end(i, ss, ByBackend)
	}
	return ForwardedToCaller
}

// repeatsHandshake reports whether a backend's handshake in an established
// session answers a datagram of leg 2. The caller must not see it: a second
// response kills a gosrt caller, and a rejection, of the CONCLUSION that bore a
// stale cookie, has the backend's fields in it. Other handshakes are the peers'
// own affair.
func repeatsHandshake(ss *Session, p wire.Packet) bool {
	h, ok := wire.AsHandshake(p)
	if !ok {
		return false
	}
	switch t := h.Type(); {
	case t == wire.Induction:
		return true
	case t == wire.Conclusion:
		return h.ISN() == ss.isn && h.SocketID() == ss.backendID
	default:
		return t.IsRejection() && h.ISN() == ss.isn
	}
}
