package shard

import (
	"errors"
	"net/netip"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/observe/capture"
	"srtrelay/udp"
	"srtrelay/wire"
)

// open parks a CONCLUSION and asks for a backend.
func (s *Shard) open(front uint8, d *udp.Datagram, h wire.Handshake, q backend.Query) Counter {
	i, ss := s.sessions.alloc()
	gen := ss.gen
	ok := s.cfg.Balancer.Resolve(q, func(t backend.Target, err error) bool {
		ok := s.inbox.post(func(s *Shard) { s.resolved(i, gen, t, err) })
		return ok
	})
	if !ok {
		s.sessions.release(i)
		return DropBusy
	}
	o := &opening{stalled: s.stalls.total, spelled: q.Spelled}
	o.exchange.Open(s.now, h, d.From.IP.Netip())
	*s.sessions.side(i) = side{opening: o, key: q.Key, streamID: q.StreamID, opened: s.now}
	ss.caller, ss.local, ss.front, ss.publish, ss.group = d.From, d.Local, front, q.Publish, q.Group
	ss.callerID, ss.isn = h.SocketID(), h.ISN()
	ss.state = resolving
	s.halfOpen++
	s.count(ss.caller.IP, 1, 0)
	s.keyCaller(i, ss)
	s.wheel.Set(i, o.exchange.Due())
	s.counters.inc(Handshakes)
	return Parked
}

// resolved takes the balancer's answer. The session may be gone by now, or its
// slot serve another.
func (s *Shard) resolved(i, gen uint32, t backend.Target, err error) {
	ss := s.sessions.at(i)
	if ss.gen != gen || ss.state != resolving {
		s.reportOutcome(backend.Outcome{Lease: t.Lease})
		return
	}
	ss.lease = t.Lease
	if err != nil {
		s.fail(i, ss, codeOf(err), backend.Unused)
		return
	}
	s.dial(i, ss, t)
}

// codeOf is how a caller is told why there is no backend for it.
func codeOf(err error) handshake.Code {
	if errors.Is(err, backend.ErrNoStream) {
		return handshake.CodeNotFound
	}
	return handshake.CodeDown
}

// dial starts the second leg.
func (s *Shard) dial(i uint32, ss *Session, t backend.Target) {
	to := addr.From(t.Addr)
	port, ok := s.pickPort(&to, ss.callerID)
	if !ok || !s.canJoin(to) {
		s.fail(i, ss, handshake.CodeOverload, backend.Unused)
		return
	}
	ss.backend, ss.port = to, port
	ss.state = connecting
	s.keyBack(i, ss)
	sd := s.sessions.side(i)
	s.joinPeer(i, ss, t.ID)
	sd.opening.attempt = attempt{dialled: s.now, until: s.now + attemptFor}
	x, nonce := &sd.opening.exchange, handshake.NewNonce(s.random.Uint32())
	if cookie, ok := sd.peer.cookie(port, s.now); ok {
		x.DialKnown(s.now, t.Addr.Addr(), nonce, cookie)
	} else {
		x.Dial(s.now, t.Addr.Addr(), nonce)
	}
	s.tick(i, ss)
}

// pickPort returns the first upstream socket from which the caller's ID is not
// yet in use with this backend: replies bear nothing else to tell two sessions
// apart. Few sockets mean few 4-tuples, so that sessions share superpackets.
func (s *Shard) pickPort(to *addr.AddrPort, callerID uint32) (port uint8, ok bool) {
	ipv6, of := !to.Is4(), 0
	orphaned := -1 // one whose only use is an orphan
	for p := range s.backs {
		if s.backs[p].ipv6 != ipv6 {
			continue
		}
		of++
		if _, taken := s.byBack(uint8(p), to, callerID); taken != nil {
			continue
		}
		if s.orphans.find(s.now, orphanKey{*to, callerID, uint8(p)}) == nil {
			return uint8(p), true
		}
		orphaned = p
	}
	switch {
	case of < s.cfg.UpstreamPorts && s.now >= s.upstreamRetry:
	case orphaned >= 0:
		delete(s.orphans.byKey, orphanKey{*to, callerID, uint8(orphaned)})
		return uint8(orphaned), true
	default:
		return 0, false
	}
	if err := s.openUpstream(ipv6); err != nil {
		s.counters.inc(UpstreamsFailed)
		s.upstreamRetry = s.now + upstreamRetry
		s.emit(Event{Kind: UpstreamFailed, Err: err})
		return 0, false
	}
	return uint8(len(s.backs) - 1), true
}

// upstreamRetry is how soon another upstream socket is tried after one could
// not be opened: callers come faster than descriptors are freed.
const upstreamRetry = time.Second

// openUpstream adds an upstream socket of one family.
func (s *Shard) openUpstream(ipv6 bool) error {
	ip := netip.IPv4Unspecified()
	if ipv6 {
		ip = netip.IPv6Unspecified()
	}
	sock, err := udp.OpenBack(ip, s.cfg.Sockets)
	if err != nil {
		return err
	}
	s.poller.Add(sock)
	s.backs = append(s.backs, link{
		sock: sock, out: udp.NewOutbox(sock), side: backSide, index: uint8(len(s.backs)), ipv6: ipv6,
	})
	return nil
}

// tick sends what leg 2 owes at this time, or ends it at its deadline.
func (s *Shard) tick(i uint32, ss *Session) {
	sd := s.sessions.side(i)
	x := &sd.opening.exchange
	s.allowForStalls(sd)
	b, code := x.Tick(s.now, s.room())
	if code != handshake.CodeNone {
		fate := backend.Unused // nobody was dialled
		switch {
		case code == handshake.CodeBacklog:
			fate = backend.Refused
		case ss.state == connecting:
			fate = sd.opening.attempt.fate(s.now)
		}
		if x.Phase() == handshake.PhaseInduction && fate == backend.Silent {
			// Not a word, and it had its time.
			s.cfg.Balancer.Unreachable(sd.peer.id, false)
		}
		s.fail(i, ss, code, fate)
		return
	}
	s.sendLeg(i, ss, b)
	s.considerAnother(i, ss)
}

// allowForStalls moves the deadlines of a handshake on by the time that the
// loop was stopped since it was last asked.
func (s *Shard) allowForStalls(sd *side) {
	o := sd.opening
	if by := s.stalls.total - o.stalled; by > 0 {
		o.stalled = s.stalls.total
		o.attempt.until += by
		o.exchange.ExtendDeadline(by, sd.opened+handshake.AnswerDeadline)
	}
}

// sendLeg sends a leg-2 datagram, if there is one, and arms the next.
func (s *Shard) sendLeg(i uint32, ss *Session, b []byte) {
	x := s.sessions.exchange(i)
	if len(b) > 0 {
		s.tap(ss, capture.ToBackend|capture.Sent, b)
		s.backs[ss.port].out.Add(ss.backend, addr.IP{}, ss.callerID, s.made(b))
		if x.Retries() > 0 {
			s.counters.inc(LegRetries)
		}
	}
	s.wheel.Set(i, x.Due())
}

// legReply takes a backend's datagram of a session that is connecting.
func (s *Shard) legReply(i uint32, ss *Session, p wire.Packet) Counter {
	s.tap(ss, capture.ToCaller|capture.Received, p)
	sd := s.sessions.side(i)
	x := &sd.opening.exchange
	h, ok := wire.AsHandshake(p)
	if !ok || len(h) > wire.MaxPayload {
		x.NoteInvalidReply()
		if p.Is(wire.TypeHandshake) {
			return DropBadReply
		}
		// Data that overtakes the response would make the caller conclude
		// again; SRT repeats it.
		return DropEarly
	}
	b, outcome := x.Reply(s.now, h, s.room())
	switch outcome {
	case handshake.OutcomeDuplicate:
		return DropDuplicate
	case handshake.OutcomeProgressed:
		if cookie, ok := x.FreshCookie(); ok {
			sd.peer.learn(ss.port, cookie, s.now)
		}
		s.sendLeg(i, ss, b)
	case handshake.OutcomeAnswered:
		if x.Phase() == handshake.PhaseConnected {
			s.connected(i, ss, h)
		} else {
			s.reject(i, ss, backend.Denied)
		}
	case handshake.OutcomeRefused:
		s.wheel.Set(i, x.Due())
		s.askAnother(i, ss, backend.Refused)
	default:
		return DropBadReply
	}
	return Consumed
}

// connected completes the handshake: the one place where a session becomes
// established.
func (s *Shard) connected(i uint32, ss *Session, response wire.Handshake) {
	backendID := response.SocketID()
	if _, other := s.byFront(ss.front, &ss.caller, backendID); other != nil {
		// Two backends gave sockets of one caller's port the same ID: its
		// packets could not be told apart.
		s.sendShutdownBackend(ss, backendID)
		s.fail(i, ss, handshake.CodeOverload, backend.Unused)
		return
	}
	s.halfOpen--
	s.count(ss.caller.IP, -1, 1)
	ss.backendID = backendID
	ss.state = established
	ss.begun, ss.callerSeen, ss.backendSeen = s.now, s.now, s.now
	s.keyFront(i, ss)
	s.record(i, ss)
	s.agree(i, ss, response)
	s.counters.inc(Established)
	s.reportOutcome(backend.Outcome{Lease: ss.lease, Fate: backend.Began})
	s.answer(i, ss)
	s.wheel.Set(i, s.checkDue(i, ss))
	e := s.sessionEvent(SessionBegun, i, ss)
	e.Took = s.now - s.sessions.side(i).opened
	s.emit(e)
}

// fail rejects the caller with a code of the relay's own, or what a backend said
// that could not take it. f is what the balancer is told of the placement.
func (s *Shard) fail(i uint32, ss *Session, code handshake.Code, f backend.Fate) {
	o := s.sessions.side(i).opening
	s.giveUpLeg(ss, o)
	o.exchange.Reject(s.now, code)
	s.reject(i, ss, f)
}

// reject tells the caller the rejection that the exchange holds, which is
// repeated for as long as the caller may ask again, and the balancer what
// became of the placement.
func (s *Shard) reject(i uint32, ss *Session, f backend.Fate) {
	s.halfOpen--
	ss.state = rejected
	s.counters.inc(Rejected)
	e := s.sessionEvent(CallerRejected, i, ss)
	e.Code = s.sessions.exchange(i).Code()
	s.answer(i, ss)
	e.Took = s.now - s.sessions.side(i).opened
	s.emit(e)
	s.leavePeer(i, ss)
	s.releaseLease(ss, f, 0)
	s.tombs++
	s.wheel.Set(i, s.now+handshake.RejectionTTL)
}

// again takes a CONCLUSION that repeats one: a retry, or a copy.
func (s *Shard) again(i uint32, ss *Session, h wire.Handshake) Counter {
	s.tap(ss, capture.ToBackend|capture.Received, h)
	sd := s.sessions.side(i)
	switch {
	case ss.state == closing:
		return DropClosed
	case sd.opening != nil && sd.opening.exchange.AcceptRetry(s.now, h):
		return Parked
	case sd.replay == nil || !sd.replay.AcceptRetry(s.now, h, ss.responseUsed):
		return DropDuplicate
	}
	s.counters.inc(Replays)
	s.sendAnswer(ss, sd.replay)
	return Answered
}

// answer sends the caller what its handshake came to. Of the handshake only
// that is kept.
func (s *Shard) answer(i uint32, ss *Session) {
	sd := s.sessions.side(i)
	sd.replay, sd.opening = sd.opening.exchange.Replay(), nil
	s.sendAnswer(ss, sd.replay)
}

func (s *Shard) sendAnswer(ss *Session, r *handshake.Replay) {
	b := append(s.room(), r.Answer(s.now)...)
	s.tap(ss, capture.ToCaller|capture.Sent, b)
	s.fronts[ss.front].out.Add(ss.caller, ss.local, ss.callerID, s.made(b))
}
