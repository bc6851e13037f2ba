package shard

import (
	"time"

	"srtrelay/addr"
	"srtrelay/handshake"
	"srtrelay/pool"
	"srtrelay/udp"
	"srtrelay/wire"
)

// toListener handles a datagram that is addressed to the listener (socket ID 0).
// Only here is a datagram answered or kept that belongs to no session.
func (s *Shard) toListener(front uint8, d *udp.Datagram, b []byte) Counter {
	h, ok := wire.AsHandshake(b)
	switch {
	case !ok && wire.Packet(b).Is(wire.TypeHandshake):
		return DropMalformed
	case !ok:
		return DropNotHandshake
	case len(b) > wire.MaxPayload || h.SocketID() == 0:
		return DropMalformed
	case h.Type() == wire.HandshakeInduction:
		return s.induction(front, d, h)
	case h.Type() == wire.HandshakeConclusion:
		return s.conclusion(front, d, h)
	}
	return DropRendezvous
}

// induction answers an INDUCTION without state: with one reply, which is no longer
// than the request.
func (s *Shard) induction(front uint8, d *udp.Datagram, h wire.Handshake) Counter {
	request := uint64(h.SocketID())<<32 | uint64(h.Packet().Timestamp())
	if s.admission.dedup.Seen(s.now, d.From.Hash(s.sessions.seed^request)) {
		return DropDuplicate
	}
	if i, ss := s.sessions.byCaller(front, &d.From, h.SocketID()); ss != nil && ss.state.alive() {
		return s.inductionOfSession(i, ss, d, h)
	}
	if s.fronts[front].retired {
		return DropRetired
	}
	if s.draining {
		return s.rejectStateless(front, d, h, handshake.CodeDown)
	}
	if !s.admission.affordsInduction(d.From.IP) {
		return DropHandshakeBudget
	}
	s.noteInduction(d, h)
	s.counters.inc(CountInductions)
	s.sendInductionReply(front, d, h)
	return CountAnswered
}

func (s *Shard) sendInductionReply(front uint8, d *udp.Datagram, h wire.Handshake) {
	cookie := s.admission.cookies.Generate(s.now, d.From)
	reply := handshake.AppendInductionReply(s.scratchTail(), h, cookie, s.snapshot.KeyLen, d.From.IP.Netip())
	s.fronts[front].out.Add(d.From, d.Local, h.SocketID(), s.keepScratch(reply))
}

// rejectStateless rejects a caller that has no session.
func (s *Shard) rejectStateless(front uint8, d *udp.Datagram, h wire.Handshake, code handshake.Code) Counter {
	s.counters.inc(CountRejected)
	s.fronts[front].out.Add(d.From, d.Local, h.SocketID(), s.keepScratch(handshake.AppendRejection(s.scratchTail(), h, code)))
	return CountAnswered
}

// answerStaleCookie answers a CONCLUSION whose cookie has expired, or is that of an
// earlier process, with an INDUCTION reply: libsrt in non-blocking mode then
// repeats the CONCLUSION with the new cookie instead of timing out.
func (s *Shard) answerStaleCookie(front uint8, d *udp.Datagram, h wire.Handshake) Counter {
	if s.draining || !s.admission.staleCookies.Allow(s.now, d.From.Hash(s.sessions.seed)) {
		return DropCookie
	}
	s.counters.inc(CountReinductions)
	s.sendInductionReply(front, d, h)
	return CountAnswered
}

// pendingInduction is an INDUCTION from the address and socket ID of an established
// session. Either it is a late duplicate, which must not be answered because the
// reply disturbs the connection, or its caller has crashed and connects again. The
// datagram itself cannot tell, for it may be forged; the silence of the session's
// caller can. So the INDUCTION is kept until the caller has been silent for
// callerAliveFor, and any datagram of the session discards it. Callers that never
// repeat an INDUCTION, as gosrt's, are thereby answered too, and a forged one does
// no harm.
type pendingInduction struct {
	request *pool.Buffer
	local   addr.IP
	at      time.Duration
}

// inductionOfSession handles an INDUCTION that bears the address and the socket ID
// of a session.
func (s *Shard) inductionOfSession(i uint32, ss *session, d *udp.Datagram, h wire.Handshake) Counter {
	switch {
	case s.fronts[ss.front].retired:
		return DropRetired
	case ss.state != StateEstablished || s.draining:
		return DropDuplicate
	}
	s.refresh(i, ss)
	if s.callerSilent(ss) {
		s.counters.inc(CountInductions)
		s.sendInductionReply(ss.front, d, h)
		return CountAnswered
	}
	if h.ISN() == ss.isn {
		// libsrt's INDUCTION has the ISN of the CONCLUSION that follows: this
		// is a duplicate. gosrt's has 0.
		return DropDuplicate
	}
	if _, waits := s.pendingInductions[i]; !waits {
		s.pendingInductions[i] = pendingInduction{at: s.now, local: d.Local, request: pool.Get(h[:wire.HandshakeSize])}
		s.wheel.Set(i, s.checkDue(i, ss))
	}
	return DropDuplicate
}

// callerSilent reports whether the caller of a session has been silent for longer
// than a live one can be: an idle one sends a KEEPALIVE every second, or echoes
// the backend's.
func (s *Shard) callerSilent(ss *session) bool {
	return s.now-s.stalls.extend(ss.callerSeen) >= callerAliveFor
}

// answerPendingInduction answers or discards the INDUCTION that is kept for a
// session, once it is known which.
func (s *Shard) answerPendingInduction(i uint32, ss *session) {
	r, waits := s.pendingInductions[i]
	switch {
	case !waits:
		return
	case ss.callerSeen > r.at:
		// The session's caller is alive: it was a duplicate. A datagram of the same turn
		// may have come before it.
	case !s.callerSilent(ss):
		return
	case !s.draining && !s.fronts[ss.front].retired:
		s.counters.inc(CountInductions)
		s.sendInductionReply(ss.front, &udp.Datagram{From: ss.caller, Local: r.local}, wire.Handshake(r.request.Bytes()))
	}
	s.dropPendingInduction(i)
}

func (s *Shard) dropPendingInduction(i uint32) {
	if r, waits := s.pendingInductions[i]; waits {
		pool.Put(r.request)
		delete(s.pendingInductions, i)
	}
}
