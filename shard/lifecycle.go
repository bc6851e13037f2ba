package shard

import (
	"slices"
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/observe/capture"
	"srtrelay/wire"
)

// tombstoneTTL is how long an ended session keeps its keys: longer than datagrams
// stay in a network, and than a peer that missed the SHUTDOWN goes on sending.
const tombstoneTTL = 3 * time.Second

// shutdownInterval is the time between SHUTDOWNs to a peer that goes on sending
// because the first one was lost.
const shutdownInterval = 200 * time.Millisecond

// callerAliveFor is for how long a caller's last datagram shows that it is still
// sending: an idle libsrt peer sends a KEEPALIVE every second.
const callerAliveFor = 1500 * time.Millisecond

// onTimeout handles a session's timer.
func (s *Shard) onTimeout(i uint32) {
	ss := s.sessions.at(i)
	switch ss.state {
	case StateResolving, StateConnecting:
		s.tickLeg(i, ss)
	case StateEstablished:
		s.checkSession(i, ss)
	case StateRejected, StateClosing:
		s.freeSession(i, ss)
	}
}

// checkSession ends an established session that is idle or whose backend is silent,
// and frees what it no longer needs.
func (s *Shard) checkSession(i uint32, ss *session) {
	s.refresh(i, ss)
	cold := s.sessions.cold(i)
	if cold.replay != nil && s.now >= ss.establishedAt+handshake.ResponseTTL {
		cold.dropReplay()
	}
	s.answerPendingInduction(i, ss)
	s.tickDeferred(i, ss)
	s.tickCandidate(i, ss)
	if s.now-s.stalls.extend(max(ss.callerSeen, ss.backendSeen)) >= s.limits.IdleTimeout {
		s.endSession(i, ss, CauseIdle)
		return
	}
	silence := s.unansweredFor(ss)
	if silence >= s.silenceLimit(ss, cold.peer) {
		s.cfg.Resolver.Unreachable(cold.peer.id, false)
		s.endSession(i, ss, CauseBackendSilent)
		return
	}
	if silence >= s.probeAfterSilence() {
		s.probeSilent(cold.peer)
	}
	s.wheel.Set(i, s.checkDue(i, ss))
}

// unansweredFor is for how long the caller has been sending while the backend was
// silent; 0 if the caller is not sending.
func (s *Shard) unansweredFor(ss *session) time.Duration {
	if ss.unansweredSince == 0 || !s.callerSending(ss) {
		return 0
	}
	return s.now - s.stalls.extend(ss.unansweredSince)
}

// probeAfterSilence is the silence after which a backend is probed: two thirds of
// what ends a session.
func (s *Shard) probeAfterSilence() time.Duration { return s.limits.BackendSilence / 3 * 2 }

// silenceLimit is the silence that ends a session (ADR 16): Limits.BackendSilence if
// the backend answers probes, less if it does not, and no more than
// probeAfterSilence if the kernel reports that there is no route to it.
func (s *Shard) silenceLimit(ss *session, p *peer) time.Duration {
	switch {
	case p.unreachableAt > ss.backendSeen:
		return s.probeAfterSilence()
	case p.unresponsive:
		return min(s.probeAfterSilence()+probesLast, s.limits.BackendSilence)
	}
	return s.limits.BackendSilence
}

// callerSending reports whether the caller is still sending. If BackendSilence is
// shorter than callerAliveFor, the last datagram counts for no longer than that.
func (s *Shard) callerSending(ss *session) bool {
	return s.now-s.stalls.extend(ss.callerSeen) < min(callerAliveFor, s.limits.BackendSilence)
}

// checkDue returns the earliest time at which checkSession could find something, or one up to
// bundleEvery before it: a session in use is checked in vain, and many at a time cost fewer
// turns. The next check is at the very time then. A session that carries media is checked once
// per probeAfterSilence.
func (s *Shard) checkDue(i uint32, ss *session) time.Duration {
	due := s.stalls.extend(max(ss.callerSeen, ss.backendSeen)) + s.limits.IdleTimeout
	silent := s.now + s.probeAfterSilence()
	if ss.unansweredSince != 0 {
		silent = s.silenceDue(s.stalls.extend(ss.unansweredSince), s.sessions.cold(i).peer)
	}
	if silent <= s.now {
		silent = s.now + callerAliveFor/4 // it would end if the caller were sending
	}
	due = min(due, silent)
	if s.sessions.cold(i).replay != nil {
		due = min(due, ss.establishedAt+handshake.ResponseTTL)
	}
	if due-s.now >= 2*bundleEvery {
		due = due.Truncate(bundleEvery)
	}
	if _, waits := s.pendingInductions[i]; waits {
		due = min(due, s.stalls.extend(ss.callerSeen)+callerAliveFor)
	}
	if c := s.candidates[i]; c != nil {
		due = min(due, c.Due(s.now))
	}
	if e, waits := s.deferredAddresses[i]; waits {
		due = min(due, max(e.due, s.now))
	}
	return due
}

// silenceDue returns when a silence that began at a time is checked next: when the
// backend is to be probed, when the probes have timed out, and at the limit.
func (s *Shard) silenceDue(since time.Duration, p *peer) time.Duration {
	ask := since + s.probeAfterSilence()
	if ask > s.now {
		return ask
	}
	due := s.now + probesLast // it has answered: probed again by then
	switch {
	case p.unresponsive:
		due = ask + probesLast
	case p.suspect:
		due = max(p.probesEnd(), ask+probesLast)
	}
	return min(due, since+s.limits.BackendSilence)
}

// endSession makes an established session a tombstone: the one place where it ends.
// A side that does not know yet gets a SHUTDOWN.
func (s *Shard) endSession(i uint32, ss *session, cause Cause) {
	s.leaveKernel(i, ss)
	s.disown(i, ss)
	s.dropCandidate(i)
	delete(s.deferredAddresses, i)
	delete(s.announced, i)
	ss.toClosing(s.now, cause)
	s.sessions.cold(i).ended = s.now
	s.clearRecord(i)
	if !cause.byPeer() {
		if cause.needsCallerShutdown() {
			s.sendShutdownCaller(ss)
		}
		s.sendShutdownBackend(i, ss, ss.backendID)
	}
	e := s.sessionEvent(EventSessionEnded, i, ss)
	e.Took = s.now - ss.establishedAt
	s.emit(e)
	s.toTombstone(i, ss)
}

// replaceSession ends the session of a caller that connects again with the same
// socket ID. The old connection cannot be alive, because a process has one socket of
// an ID.
func (s *Shard) replaceSession(i uint32, ss *session) {
	if ss.state == StateEstablished {
		s.endSession(i, ss, CauseReplaced)
	}
	s.sessions.unkeyCaller(i, ss)
}

// toTombstone frees all of a session but its keys. These stay for a while, so that
// late datagrams do not meet another session.
func (s *Shard) toTombstone(i uint32, ss *session) {
	s.sessions.cold(i).dropReplay()
	s.dropPendingInduction(i)
	s.usage.leaveStream(i, ss)
	s.peers.leave(&s.sessions, i, ss)
	s.releaseLease(ss, ss.cause.fate(), s.sessions.cold(i).ended-ss.establishedAt)
	s.sessions.tombstones++
	s.wheel.Set(i, s.now+tombstoneTTL)
}

// freeSession frees the session and its keys.
func (s *Shard) freeSession(i uint32, ss *session) {
	s.sessions.tombstones--
	s.usage.free(i, ss)
	s.sessions.cold(i).dropReplay()
	s.sessions.unkey(i, ss)
	s.meters.Release(&ss.meter)
	s.captures.sessionFreed(ss)
	s.wheel.Cancel(i)
	s.sessions.release(i)
}

func (cold *coldState) dropReplay() {
	if cold.replay != nil {
		cold.replay.Close()
		cold.replay = nil
	}
}

// releaseLease returns a session's lease, with its outcome.
func (s *Shard) releaseLease(ss *session, f backend.Fate, lasted time.Duration) {
	s.outcomes.report(backend.Outcome{Lease: ss.lease, Fate: f, Lasted: lasted})
	ss.lease = 0
}

// outcomes reports to the resolver what became of leases, in order; while that is
// busy it keeps them. It belongs to the loop.
type outcomes struct {
	resolver   Resolver
	unreported []backend.Outcome
}

// report reports an outcome: now, or after those that are still unreported.
func (u *outcomes) report(o backend.Outcome) {
	if o.Lease != 0 && (len(u.unreported) > 0 || !u.resolver.Report(o)) {
		u.unreported = append(u.unreported, o)
	}
}

// retry reports what the resolver was too busy for.
func (u *outcomes) retry() {
	n := 0
	for n < len(u.unreported) && u.resolver.Report(u.unreported[n]) {
		n++
	}
	u.unreported = slices.Delete(u.unreported, 0, n)
}

// handleLateFromCaller answers a caller that sends after the end of its session: the
// SHUTDOWN was lost, and without another the caller would wait 5 s for its own
// timeout.
func (s *Shard) handleLateFromCaller(ss *session) {
	if ss.state == StateClosing && ss.cause.needsCallerShutdown() && ss.mayRepeatShutdown(s.now) {
		s.sendShutdownCaller(ss)
	}
}

// handleLateFromBackend does the same for the backend. A response that comes after
// the caller was rejected has opened a connection that nobody will use.
func (s *Shard) handleLateFromBackend(i uint32, ss *session, p wire.Packet) {
	if ss.backendID == 0 {
		if h, ok := wire.AsHandshake(p); ok && h.Type() == wire.HandshakeConclusion && h.ISN() == ss.isn && ss.mayRepeatShutdown(s.now) {
			s.sendShutdownBackend(i, ss, h.SocketID())
		}
		return
	}
	if ss.cause.needsBackendShutdown() && ss.mayRepeatShutdown(s.now) {
		s.sendShutdownBackend(i, ss, ss.backendID)
	}
}

// mayRepeatShutdown limits repeated SHUTDOWNs to one per shutdownInterval: a peer's
// last datagrams often cross the first SHUTDOWN.
func (ss *session) mayRepeatShutdown(now time.Duration) bool {
	if now-ss.lastShutdown < shutdownInterval {
		return false
	}
	ss.lastShutdown = now
	return true
}

func (s *Shard) sendShutdownCaller(ss *session) {
	s.counters.inc(CountShutdownsMade)
	b := s.keepScratch(wire.AppendShutdown(s.scratchTail(), 0, ss.callerID))
	s.capture(ss, capture.ToCaller|capture.Sent, b)
	s.fronts[ss.front].out.Add(ss.caller, ss.local, ss.callerID, b)
}

func (s *Shard) sendShutdownBackend(i uint32, ss *session, backendID uint32) {
	s.counters.inc(CountShutdownsMade)
	b := s.keepScratch(wire.AppendShutdown(s.scratchTail(), 0, backendID))
	s.capture(ss, capture.ToBackend|capture.Sent, b)
	s.backs[ss.upstream].out.Add(ss.backend, s.pinnedSource(i, ss), backendID, b)
}
