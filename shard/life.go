package shard

import (
	"slices"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/observe/capture"
	"srtrelay/wire"
)

// timeout is what a session's timer does.
func (s *Shard) timeout(i uint32) {
	ss := s.sessions.at(i)
	switch ss.state {
	case resolving, connecting:
		s.tick(i, ss)
	case established:
		s.check(i, ss)
	case rejected, closing:
		s.forget(i, ss)
	}
}

// callerAlive is the age up to which a caller's last datagram shows that it is
// still sending: an idle libsrt peer sends a KEEPALIVE every second.
const callerAlive = 1500 * time.Millisecond

// check ends an established session that is idle or whose backend has gone
// silent, and lets go of what it no longer needs.
func (s *Shard) check(i uint32, ss *Session) {
	sd := s.sessions.side(i)
	if sd.replay != nil && s.now >= ss.begun+handshake.ResponseTTL {
		s.dropReplay(sd)
	}
	s.answerReturning(i, ss)
	if s.now-s.stalls.moved(max(ss.callerSeen, ss.backendSeen)) >= s.cfg.IdleTimeout {
		s.end(i, ss, Idle)
		return
	}
	silence := s.silence(ss)
	if silence >= s.silenceLimit(ss, sd.peer) {
		s.cfg.Balancer.Unreachable(sd.peer.id, false)
		s.end(i, ss, BackendSilent)
		return
	}
	if silence >= s.askAfter() {
		s.askSilent(sd.peer)
	}
	s.wheel.Set(i, s.checkDue(i, ss))
}

// silence is for how long the caller has sent and the backend said nothing; 0
// if the caller does not send.
func (s *Shard) silence(ss *Session) time.Duration {
	if ss.unanswered == 0 || !s.callerSends(ss) {
		return 0
	}
	return s.now - s.stalls.moved(ss.unanswered)
}

// askAfter is the silence after which a backend is probed: two thirds of what
// is allowed.
func (s *Shard) askAfter() time.Duration { return s.cfg.BackendSilence / 3 * 2 }

// silenceLimit is the silence that ends a session, by what else its backend
// says (ADR 16): all that is allowed if it answers probes, less if it leaves
// them unanswered too, and as much as it takes to ask if the kernel knows of no
// way to its host.
func (s *Shard) silenceLimit(ss *Session, p *peer) time.Duration {
	switch {
	case p.unreachable > ss.backendSeen:
		return s.askAfter()
	case p.mute:
		return min(s.askAfter()+probesLast, s.cfg.BackendSilence)
	}
	return s.cfg.BackendSilence
}

// callerSends reports whether the caller is still sending. One datagram alone
// is no sign of that, however short the silence allowed.
func (s *Shard) callerSends(ss *Session) bool {
	return s.now-s.stalls.moved(ss.callerSeen) < min(callerAlive, s.cfg.BackendSilence)
}

// checkDue returns the earliest time at which check could find something: a
// session that flows is looked at once per askAfter.
func (s *Shard) checkDue(i uint32, ss *Session) time.Duration {
	due := s.stalls.moved(max(ss.callerSeen, ss.backendSeen)) + s.cfg.IdleTimeout
	silent := s.now + s.askAfter()
	if ss.unanswered != 0 {
		silent = s.silenceDue(s.stalls.moved(ss.unanswered), s.sessions.side(i).peer)
	}
	due = min(due, silent)
	if s.sessions.side(i).replay != nil {
		due = min(due, ss.begun+handshake.ResponseTTL)
	}
	due = max(due, s.now+callerAlive/4)
	if _, waits := s.returning[i]; waits {
		due = min(due, s.stalls.moved(ss.callerSeen)+callerAlive)
	}
	return due
}

// silenceDue returns when a silence that began at a time is looked at next:
// when its backend is to be asked, when that may have been in vain, and at the
// end of what is allowed.
func (s *Shard) silenceDue(since time.Duration, p *peer) time.Duration {
	ask := since + s.askAfter()
	if ask > s.now {
		return ask
	}
	due := s.now + probesLast // it has answered: asked again by then
	switch {
	case p.mute:
		due = ask + probesLast
	case p.suspect:
		due = max(p.verdict(), ask+probesLast)
	}
	return min(due, since+s.cfg.BackendSilence)
}

// end makes an established session a tombstone: the one place where it ends.
// Whoever does not know yet is told by a SHUTDOWN.
func (s *Shard) end(i uint32, ss *Session, cause Cause) {
	ss.state, ss.cause, ss.told = closing, cause, s.now
	s.sessions.side(i).ended = s.now
	s.unrecord(i)
	if !cause.byPeer() {
		if cause.tellsCaller() {
			s.sendShutdownCaller(ss)
		}
		s.sendShutdownBackend(ss, ss.backendID)
	}
	e := s.sessionEvent(SessionEnded, i, ss)
	e.Took = s.now - ss.begun
	s.emit(e)
	s.bury(i, ss)
}

// replace makes room for a caller that connects again under the same socket
// ID. The old connection cannot be alive, for one process has one socket of an
// ID; its backend is told.
func (s *Shard) replace(i uint32, ss *Session) {
	if ss.state == established {
		s.end(i, ss, Replaced)
	}
	s.unkeyCaller(i, ss)
}

// bury frees all of a session but its keys, which stay for a while so that
// late datagrams find a closed session and not a stranger's.
func (s *Shard) bury(i uint32, ss *Session) {
	s.dropReplay(s.sessions.side(i))
	s.dropReturning(i)
	s.leavePeer(i, ss)
	s.releaseLease(ss, ss.cause.fate(), s.sessions.side(i).ended-ss.begun)
	s.tombs++
	s.wheel.Set(i, s.now+tombstoneKept)
}

// forget frees every trace of a session.
func (s *Shard) forget(i uint32, ss *Session) {
	s.tombs--
	// Only now: what a source leaves behind costs as much to keep as what it
	// has, and may come faster.
	if ss.state == rejected {
		s.count(ss.caller.IP, -1, 0)
	} else {
		s.count(ss.caller.IP, 0, -1)
	}
	s.dropReplay(s.sessions.side(i))
	s.unkey(i, ss)
	s.meters.Release(&ss.meter)
	s.tapForgotten(ss)
	s.wheel.Cancel(i)
	s.sessions.release(i)
}

func (s *Shard) dropReplay(sd *side) {
	if sd.replay != nil {
		sd.replay.Close()
		sd.replay = nil
	}
}

// releaseLease gives a session's hold on its backend back, and says what became
// of it.
func (s *Shard) releaseLease(ss *Session, f backend.Fate, lasted time.Duration) {
	s.reportOutcome(backend.Outcome{Lease: ss.lease, Fate: f, Lasted: lasted})
	ss.lease = 0
}

// reportOutcome passes on what became of a lease: now, or after what is owed already.
func (s *Shard) reportOutcome(o backend.Outcome) {
	if o.Lease != 0 && (len(s.owed) > 0 || !s.cfg.Balancer.Report(o)) {
		s.owed = append(s.owed, o)
	}
}

// payOwed offers the balancer what it was too busy for.
func (s *Shard) payOwed() {
	n := 0
	for n < len(s.owed) && s.cfg.Balancer.Report(s.owed[n]) {
		n++
	}
	s.owed = slices.Delete(s.owed, 0, n)
}

// callerStraggles answers a caller that goes on sending after the end: the
// SHUTDOWN was lost, and without another it would wait 5 s for its own
// timeout.
func (s *Shard) callerStraggles(ss *Session) {
	if ss.state == closing && ss.cause.tellsCaller() && s.mayRepeat(ss) {
		s.sendShutdownCaller(ss)
	}
}

// backendStraggles does the same for the backend. A response that comes after
// the caller was rejected has opened a connection that nobody will use.
func (s *Shard) backendStraggles(ss *Session, p wire.Packet) {
	if ss.backendID == 0 {
		if h, ok := wire.AsHandshake(p); ok && h.Type() == wire.Conclusion && h.ISN() == ss.isn && s.mayRepeat(ss) {
			s.sendShutdownBackend(ss, h.SocketID())
		}
		return
	}
	if ss.cause.tellsBackend() && s.mayRepeat(ss) {
		s.sendShutdownBackend(ss, ss.backendID)
	}
}

// mayRepeat spaces repeated SHUTDOWNs: a peer's last datagrams often cross the
// first one, and no answer may become a storm.
func (s *Shard) mayRepeat(ss *Session) bool {
	if s.now-ss.told < shutdownRepeat {
		return false
	}
	ss.told = s.now
	return true
}

func (s *Shard) sendShutdownCaller(ss *Session) {
	s.counters.inc(ShutdownsMade)
	b := s.made(wire.AppendShutdown(s.room(), 0, ss.callerID))
	s.tap(ss, capture.ToCaller|capture.Sent, b)
	s.fronts[ss.front].out.Add(ss.caller, ss.local, ss.callerID, b)
}

func (s *Shard) sendShutdownBackend(ss *Session, backendID uint32) {
	s.counters.inc(ShutdownsMade)
	b := s.made(wire.AppendShutdown(s.room(), 0, backendID))
	s.tap(ss, capture.ToBackend|capture.Sent, b)
	s.backs[ss.port].out.Add(ss.backend, addr.IP{}, backendID, b)
}
