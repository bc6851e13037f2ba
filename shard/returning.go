package shard

import (
	"time"

	"srtrelay/addr"
	"srtrelay/pool"
	"srtrelay/udp"
	"srtrelay/wire"
)

// returning is an INDUCTION from the address and socket ID of a session that
// is established. It is a late copy, which must stay unanswered because a reply
// sets two connected peers quarrelling, or it comes from a caller that has
// crashed and begins anew. Nothing in it tells the two apart that a forger could
// not write as well; that the session's caller stays silent does. So it waits
// until the caller has been silent for callerAlive, and any datagram of the
// session discards it. Callers that never repeat, as gosrt's, are thereby
// answered as well, and who forges INDUCTIONs achieves nothing.
type returning struct {
	request *pool.Buffer
	local   addr.IP
	at      time.Duration
}

// inductionOfKnown takes an INDUCTION that bears the address and the socket ID
// of a session.
func (s *Shard) inductionOfKnown(i uint32, ss *Session, d *udp.Datagram, h wire.Handshake) Counter {
	if ss.state != established || s.draining {
		return DropDuplicate
	}
	if s.callerSilent(ss) {
		s.counters.inc(Inductions)
		s.sendInduction(ss.front, d, h)
		return Answered
	}
	if h.ISN() == ss.isn {
		// libsrt's INDUCTION has the ISN of the CONCLUSION that follows: this
		// is a copy. gosrt's has 0.
		return DropDuplicate
	}
	if _, waits := s.returning[i]; !waits {
		s.returning[i] = returning{at: s.now, local: d.Local, request: pool.Get(h[:wire.HandshakeSize])}
		s.wheel.Set(i, s.checkDue(i, ss))
	}
	return DropDuplicate
}

// callerSilent reports whether the caller of a session has been silent for
// longer than a live peer ever is: an idle one sends a KEEPALIVE every second,
// or echoes the backend's.
func (s *Shard) callerSilent(ss *Session) bool {
	return s.now-s.stalls.moved(ss.callerSeen) >= callerAlive
}

// answerReturning answers an INDUCTION that waits, when its time has come, or
// discards it.
func (s *Shard) answerReturning(i uint32, ss *Session) {
	r, waits := s.returning[i]
	switch {
	case !waits:
		return
	case ss.callerSeen >= r.at:
		// The session's caller lives: it was a copy.
	case !s.callerSilent(ss):
		return
	case !s.draining:
		s.counters.inc(Inductions)
		s.sendInduction(ss.front, &udp.Datagram{From: ss.caller, Local: r.local}, wire.Handshake(r.request.Bytes()))
	}
	s.dropReturning(i)
}

func (s *Shard) dropReturning(i uint32) {
	if r, waits := s.returning[i]; waits {
		pool.Put(r.request)
		delete(s.returning, i)
	}
}
