package shard

import (
	"errors"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/observe/capture"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/migration"
	"srtrelay/udp"
	"srtrelay/wire"
)

// openSession keeps a CONCLUSION and asks the resolver for a backend. The session is
// nil if that is too busy.
func (s *Shard) openSession(front uint8, d *udp.Datagram, h wire.Handshake, q backend.Query) (uint32, *session) {
	names, keyLength := q.Key+q.StreamID, len(q.Key)
	q.Key, q.StreamID = names[:keyLength], names[keyLength:] // so that the resolver keeps no copy
	i, ss := s.sessions.alloc()
	gen := ss.gen
	ok := s.cfg.Resolver.Resolve(q, func(t backend.Target, err error) bool {
		return s.inbox.post(func(s *Shard) { s.onResolved(i, gen, t, err) })
	})
	if !ok {
		s.sessions.release(i)
		return 0, nil
	}
	pending := &pendingHandshake{stallsSeen: s.stalls.total, proxyKey: q.ProxyKey}
	pending.leg.Open(s.now, h, d.From.IP.Netip())
	cold := s.sessions.cold(i)
	*cold = coldState{pending: pending, opened: s.now}
	cold.setNames(names, keyLength)
	ss.caller, ss.local, ss.front, ss.publisher, ss.group = d.From, d.Local, front, q.Publish, q.Group
	ss.callerID, ss.isn = h.SocketID(), h.ISN()
	ss.toResolving()
	s.admission.halfOpen++
	s.usage.open(i, ss.caller.IP)
	s.usage.connected(i, s.now)
	s.joinStream(i, ss)
	s.sessions.keyCaller(i, ss)
	s.wheel.Set(i, pending.leg.Due())
	s.counters.inc(CountHandshakes)
	if s.lane != nil {
		s.emit(s.sessionEvent(EventHandshakeBegun, i, ss))
	}
	return i, ss
}

// onResolved handles the resolver's answer. By then the session may have been freed
// and its index reused.
func (s *Shard) onResolved(i, gen uint32, t backend.Target, err error) {
	ss := s.sessions.at(i)
	if ss.gen != gen || ss.state != StateResolving {
		s.outcomes.report(backend.Outcome{Lease: t.Lease})
		return
	}
	if err == nil && s.holdsDial(addr.From(t.Addr), ss.callerID) {
		s.held = append(s.held, func(s *Shard) { s.onResolved(i, gen, t, nil) })
		return
	}
	ss.lease = t.Lease
	if err != nil {
		s.rejectWith(i, ss, codeOf(err), backend.FateUnused)
		return
	}
	s.dial(i, ss, t)
}

// codeOf is the rejection for a caller that the resolver has no backend for.
func codeOf(err error) handshake.Code {
	if errors.Is(err, backend.ErrNoStream) {
		return handshake.CodeNotFound
	}
	return handshake.CodeDown
}

// dial starts the backend leg.
func (s *Shard) dial(i uint32, ss *session, t backend.Target) {
	to := addr.From(t.Addr)
	upstream, ok := s.pickUpstream(&to, ss.callerID)
	if !ok || !s.peers.hasRoom(to) {
		s.rejectWith(i, ss, handshake.CodeOverload, backend.FateUnused)
		return
	}
	ss.backend, ss.upstream = to, upstream
	ss.toConnecting()
	s.sessions.keyBack(i, ss)
	cold := s.sessions.cold(i)
	s.peers.join(&s.sessions, i, ss, t.ID)
	cold.pending.attempt = attempt{dialedAt: s.now, deadline: s.now + attemptTimeout}
	x, nonce := &cold.pending.leg, handshake.NewNonce(s.random.Uint32())
	if cookie, ok := cold.peer.cookie(upstream, s.now); ok {
		x.DialKnown(s.now, t.Addr.Addr(), nonce, cookie)
	} else {
		x.Dial(s.now, t.Addr.Addr(), nonce)
	}
	s.tickLeg(i, ss)
}

// tickLeg sends the datagram of the backend leg that is due, or ends the handshake
// at its deadline.
func (s *Shard) tickLeg(i uint32, ss *session) {
	cold := s.sessions.cold(i)
	x := &cold.pending.leg
	cold.allowForStalls(s.stalls.total)
	b, code := x.Tick(s.now, s.scratchTail())
	if code != handshake.CodeNone {
		fate := backend.FateUnused // no backend was dialled
		switch {
		case code == handshake.CodeBacklog:
			fate = backend.FateRefused
		case ss.state == StateConnecting:
			fate = cold.pending.attempt.fate(s.now)
		}
		if x.Phase() == handshake.PhaseInduction && fate == backend.FateSilent {
			// The backend has sent nothing, and had enough time.
			s.cfg.Resolver.Unreachable(cold.peer.id, false)
		}
		s.rejectWith(i, ss, code, fate)
		return
	}
	s.sendLeg(i, ss, b)
	s.considerFailover(i, ss)
}

// allowForStalls moves the deadlines of a handshake by the stalls since the last
// call. total is the sum of all stalls.
func (cold *coldState) allowForStalls(total time.Duration) {
	pending := cold.pending
	if by := total - pending.stallsSeen; by > 0 {
		pending.stallsSeen = total
		pending.attempt.deadline += by
		pending.leg.ExtendDeadline(by, cold.opened+handshake.AnswerDeadline)
	}
}

// sendLeg sends a datagram of the backend leg, if there is one, and sets the timer
// for the next.
func (s *Shard) sendLeg(i uint32, ss *session, b []byte) {
	x := s.sessions.leg(i)
	if len(b) > 0 {
		s.capture(ss, capture.ToBackend|capture.Sent, b)
		s.backs[ss.upstream].out.Add(ss.backend, addr.IP{}, ss.callerID, s.keepScratch(b))
		if x.Retries() > 0 {
			s.counters.inc(CountLegRetries)
		}
	}
	s.wheel.Set(i, x.Due())
}

// handleLegReply handles a backend's datagram for a session that is connecting.
func (s *Shard) handleLegReply(i uint32, ss *session, p wire.Packet) Counter {
	s.capture(ss, capture.ToCaller|capture.Received, p)
	cold := s.sessions.cold(i)
	x := &cold.pending.leg
	h, ok := wire.AsHandshake(p)
	if !ok || len(h) > wire.MaxPayload {
		x.NoteInvalidReply()
		if p.Is(wire.TypeHandshake) {
			return DropBadReply
		}
		// Data that overtakes the response would make the caller repeat its
		// CONCLUSION; SRT retransmits it.
		return DropEarly
	}
	if s.failsHandshakeShield(h) {
		x.NoteInvalidReply()
		return DropShieldHandshake
	}
	b, outcome := x.Reply(s.now, h, s.scratchTail())
	switch outcome {
	case handshake.OutcomeDuplicate:
		return DropDuplicate
	case handshake.OutcomeProgressed:
		if cookie, ok := x.FreshCookie(); ok {
			cold.peer.storeCookie(ss.upstream, cookie, s.now)
		}
		s.sendLeg(i, ss, b)
	case handshake.OutcomeAnswered:
		if x.Phase() == handshake.PhaseConnected {
			s.establish(i, ss, h)
		} else {
			s.finishRejected(i, ss, backend.FateDenied)
		}
	case handshake.OutcomeRefused:
		s.wheel.Set(i, x.Due())
		s.requestFailover(i, ss, backend.FateRefused)
	default:
		return DropBadReply
	}
	return CountConsumed
}

// establish completes the handshake: the one place where a session becomes
// established.
func (s *Shard) establish(i uint32, ss *session, response wire.Handshake) {
	backendID := response.SocketID()
	if _, other := s.sessions.byFront(ss.front, &ss.caller, backendID); other != nil {
		// Two backends gave sockets of one caller's port the same ID: its
		// packets could not be told apart.
		s.sendShutdownBackend(i, ss, backendID)
		s.rejectWith(i, ss, handshake.CodeOverload, backend.FateUnused)
		return
	}
	ss.toEstablished(s.now, backendID)
	s.admission.halfOpen--
	s.usage.establish(i)
	s.sessions.keyFront(i, ss)
	s.own(i, ss)
	s.noteTerms(i, ss, response)
	s.counters.inc(CountEstablished)
	s.outcomes.report(backend.Outcome{Lease: ss.lease, Fate: backend.FateBegan})
	s.enterKernel(i, ss, true)
	s.writeRecord(i, ss)
	s.answerCaller(i, ss)
	s.wheel.Set(i, s.checkDue(i, ss))
	e := s.sessionEvent(EventSessionBegun, i, ss)
	e.Took = s.now - s.sessions.cold(i).opened
	s.emit(e)
}

// noteTerms keeps what the handshake negotiated, also with telemetry off: it costs
// nothing per packet.
func (s *Shard) noteTerms(i uint32, ss *session, response wire.Handshake) {
	cold := s.sessions.cold(i)
	conclusion := cold.pending.leg.Conclusion()
	cold.terms = telemetry.Agree(conclusion, response)
	cold.trace = migration.NewTrace(s.now, cold.opened, conclusion.Packet().Timestamp())
	ss.meter = telemetry.Begin(ss.isn, &cold.terms)
	if s.meters.Paused() {
		s.meters.Skip(&ss.meter)
	}
}

// rejectWith rejects the caller with a code of the relay's, or of a backend that could
// not take it. f is the outcome of the lease.
func (s *Shard) rejectWith(i uint32, ss *session, code handshake.Code, f backend.Fate) {
	o := s.sessions.cold(i).pending
	s.orphanLeg(ss, o)
	o.leg.Reject(s.now, code)
	s.finishRejected(i, ss, f)
}

// finishRejected sends the caller the rejection that the leg holds and reports the
// outcome of the lease. The rejection is replayed for as long as the caller may
// repeat its CONCLUSION.
func (s *Shard) finishRejected(i uint32, ss *session, f backend.Fate) {
	ss.toRejected()
	s.admission.halfOpen--
	s.usage.leaveStream(i, ss)
	s.counters.inc(CountRejected)
	e := s.sessionEvent(EventCallerRejected, i, ss)
	e.Code = s.sessions.leg(i).Code()
	s.answerCaller(i, ss)
	e.Took = s.now - s.sessions.cold(i).opened
	s.emit(e)
	s.peers.leave(&s.sessions, i, ss)
	s.releaseLease(ss, f, 0)
	s.sessions.tombstones++
	s.wheel.Set(i, s.now+handshake.RejectionTTL)
}

// repeatedConclusion handles a CONCLUSION that repeats one: a retry or a duplicate.
func (s *Shard) repeatedConclusion(i uint32, ss *session, h wire.Handshake) Counter {
	s.capture(ss, capture.ToBackend|capture.Received, h)
	s.refresh(i, ss)
	cold := s.sessions.cold(i)
	switch {
	case ss.state == StateClosing:
		return DropClosed
	case cold.pending != nil && cold.pending.leg.AcceptRetry(s.now, h):
		return CountParked
	case cold.replay == nil || !cold.replay.AcceptRetry(s.now, h, ss.responseUsed):
		return DropDuplicate
	}
	s.counters.inc(CountReplays)
	s.sendAnswer(ss, cold.replay)
	return CountAnswered
}

// answerCaller sends the caller the answer to its handshake. Only the answer is kept
// of the handshake.
func (s *Shard) answerCaller(i uint32, ss *session) {
	cold := s.sessions.cold(i)
	cold.replay, cold.pending = cold.pending.leg.Replay(), nil
	s.sendAnswer(ss, cold.replay)
}

func (s *Shard) sendAnswer(ss *session, r *handshake.Replay) {
	b := append(s.scratchTail(), r.Answer(s.now)...)
	s.capture(ss, capture.ToCaller|capture.Sent, b)
	s.fronts[ss.front].out.Add(ss.caller, ss.local, ss.callerID, s.keepScratch(b))
}
