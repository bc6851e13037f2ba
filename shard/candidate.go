package shard

import (
	"time"

	"srtrelay/addr"
	"srtrelay/observe/capture"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/letterbox"
	"srtrelay/shard/migration"
	"srtrelay/wire"
)

// judge says how likely a datagram with the socket ID of session i comes from its caller at
// another address. What costs least comes first.
func (s *Shard) judge(i uint32, ss *session, p wire.Packet) migration.Verdict {
	cold := s.sessions.cold(i)
	if !cold.trace.Timely(p, s.now, ss.establishedAt, &cold.terms) {
		return migration.Implausible
	}
	s.refresh(i, ss)
	known := s.known(i, ss)
	return cold.trace.Judge(p, &known)
}

// known returns what package migration must know of a session.
func (s *Shard) known(i uint32, ss *session) migration.Session {
	k := migration.Session{
		CallerSeen: ss.callerSeen, Silent: s.now - s.stalls.extend(ss.callerSeen), Quiet: s.quiet(ss),
		Packets: ss.toBackend.Packets, ISN: ss.isn, Encrypted: s.sessions.cold(i).terms.KeyLen != 0,
	}
	for way := range telemetry.Way(2) {
		k.Measured[way] = s.cfg.Telemetry && s.meters.Measures(&ss.meter, way)
		k.Next[way] = s.meters.Sequence(&ss.meter, way).Next
	}
	k.LastACK, k.HasACK = s.meters.LastACK(&ss.meter, telemetry.ToBackend)
	return k
}

// quiet is how long the caller's old address must have been silent.
func (s *Shard) quiet(ss *session) time.Duration { return migration.Quiet(s.callerRTT(ss)) }

// callerRTT is the last RTT that is known of a session: between the relay and a publisher, or
// what a player reports; 0 if none is.
func (s *Shard) callerRTT(ss *session) time.Duration {
	ways := s.meters.Report(&ss.meter)
	switch up, down := &ways[telemetry.ToBackend], &ways[telemetry.ToCaller]; {
	case up.Timed:
		return up.RTT
	case down.Heard:
		return time.Duration(down.Receiver.RTT) * time.Microsecond
	}
	return 0
}

// mayBegin reports whether a session may have a candidate at an address, and one more challenge
// may be sent.
func (s *Shard) mayBegin(i uint32, ss *session, ip addr.IP) bool {
	return !s.candidates[i].Holds(s.now) && s.admits(i, ss, ip) && len(s.candidates) < migration.CandidateLimit && s.challenges.Take(s.now)
}

// begin makes the sender of a letter the candidate of a session and challenges it. size is that
// of the datagram.
func (s *Shard) begin(i uint32, ss *session, l *letterbox.Letter, fast bool, size int) {
	known := s.known(i, ss)
	c := &migration.Candidate{
		Letter: *l, Fast: fast, Hold: known.Quiet,
		Patience: s.sessions.cold(i).trace.Patience(&known, ss.publisher, s.now-s.stalls.extend(ss.backendSeen)),
	}
	c.Begin(s.now, size, s.random) // ChaCha8 with a seed of the kernel's: secret
	s.candidates[i] = c
	s.counters.inc(CountCandidates)
	s.challenge(i, ss, c)
}

// challenge sends the challenges that are due, and sets the timer.
func (s *Shard) challenge(i uint32, ss *session, c *migration.Candidate) {
	if c.TakeChallenge(s.now) {
		known := s.known(i, ss)
		a := s.sessions.cold(i).trace.ChallengeACK(&known, s.meters.Report(&ss.meter))
		s.sendChallenge(ss, &c.From, c.Local, c.Number, a)
		s.sendChallenge(ss, &ss.caller, ss.local, c.OldNumber, a)
	}
	s.wheel.Set(i, s.checkDue(i, ss))
}

func (s *Shard) sendChallenge(ss *session, to *addr.AddrPort, local addr.IP, number uint32, a wire.ACK) {
	s.counters.inc(CountChallenges)
	b := s.keepScratch(wire.AppendACK(s.scratchTail(), number, 0, ss.callerID, a))
	s.capture(ss, capture.ToCaller|capture.Sent, b)
	s.fronts[ss.front].out.Add(*to, local, ss.callerID, b)
}

// fromCandidate handles a datagram from the address that has been challenged.
func (s *Shard) fromCandidate(i uint32, ss *session, c *migration.Candidate, p wire.Packet) Counter {
	answers := c.Receive(p)
	// The first datagram may have proved less than one that follows: a publisher of gosrt
	// sends ACKs all the time, whose position says nothing.
	c.Fast = c.Fast || s.judge(i, ss, p) == migration.Strong
	switch {
	case answers:
		s.decide(i, ss, c)
		return CountConsumed
	case c.Passed() && c.Fast:
		s.decide(i, ss, c)
	default:
		s.challenge(i, ss, c)
	}
	return DropUnvalidated
}

// decide moves a session to an address that has answered, or waits for the old one.
func (s *Shard) decide(i uint32, ss *session, c *migration.Candidate) {
	s.refresh(i, ss)
	switch c.Decide(s.now, ss.callerSeen) {
	case migration.DecisionForget:
		s.dropCandidate(i)
		return
	case migration.DecisionMove:
		if !s.admits(i, ss, c.From.IP) || !s.migrate(i, ss, c) {
			s.dropCandidate(i)
			return
		}
		c.Move(s.now)
	}
	s.wheel.Set(i, s.checkDue(i, ss))
}

// tickCandidate does what is due for the candidate of a session.
func (s *Shard) tickCandidate(i uint32, ss *session) {
	c := s.candidates[i]
	switch {
	case c == nil:
	case c.Passed() && !c.Moved(): // also at its end: the patience may be as long
		s.decide(i, ss, c)
	case c.Expired(s.now):
		s.dropCandidate(i)
	case c.Moved():
	default:
		s.challenge(i, ss, c)
	}
}

func (s *Shard) dropCandidate(i uint32) { delete(s.candidates, i) }

// answersChallenge reports whether a datagram of a session's caller answers a challenge: of its
// old address, or a repeated one after the move. The backend must not get it.
func (s *Shard) answersChallenge(i uint32, p wire.Packet) bool {
	c := s.candidates[i]
	if c == nil {
		return false
	}
	number := p.TypeInfo()
	return number == c.Number || number == c.OldNumber
}

// deferredAddress is where a datagram came from that could be the caller's, had the old address
// been silent for long enough. It is challenged when that is so. A player of gosrt sends nothing
// while it gets nothing: the one ACK that its socket sends behind a change of address comes too
// early, and the next datagram a second later.
type deferredAddress struct {
	letter letterbox.Letter
	size   int           // of the datagram
	at     time.Duration // when it came
	due    time.Duration // when the old address will have been silent for long enough
}

// deferChallenge keeps such an address, the last one of a session: nothing is sent there yet, so
// that a forged one does no more than take the place of another.
func (s *Shard) deferChallenge(i uint32, ss *session, l *letterbox.Letter, size int) {
	if _, known := s.deferredAddresses[i]; !known && len(s.deferredAddresses) >= migration.CandidateLimit {
		return
	}
	s.deferredAddresses[i] = deferredAddress{
		letter: *l, size: size, at: s.now, due: s.stalls.extend(ss.callerSeen) + s.quiet(ss),
	}
	s.wheel.Set(i, s.checkDue(i, ss))
}

// tickDeferred challenges the deferred address of a session whose caller has been silent since.
func (s *Shard) tickDeferred(i uint32, ss *session) {
	e, waits := s.deferredAddresses[i]
	if !waits || s.now < e.due {
		return
	}
	delete(s.deferredAddresses, i)
	silent := s.now - s.stalls.extend(ss.callerSeen)
	switch {
	case ss.callerSeen >= e.at || silent < s.quiet(ss) || !s.limits.Migration:
	case !s.mayBegin(i, ss, e.letter.From.IP):
	default:
		s.begin(i, ss, &e.letter, true, e.size)
	}
}
