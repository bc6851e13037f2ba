package shard

import (
	"time"

	"srtrelay/addr"
	"srtrelay/observe/capture"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/letterbox"
	"srtrelay/wire"
)

// candidate is an address that a session may move to. The challenge is a full ACK with a random
// number and an old position: a live peer answers it with an ACKACK of that number and takes
// nothing else from it. The old address gets one of its own, so that a caller who is still there
// answers too, and stays.
type candidate struct {
	from   addr.AddrPort
	local  addr.IP
	sender int16 // the shard that receives from there, or letterbox.OtherRelay
	fast   bool  // the answer suffices; else the old address has the patience to answer
	passed bool  // it has answered
	done   bool  // the session is there; late answers are swallowed until end

	number, oldNumber uint32 // of the challenges
	challenges        int
	received, sent    int // bytes with headers, from and to the new address
	since             time.Duration
	patience          time.Duration
	hold              time.Duration // no other address may take its place before
	next              time.Duration // when the next challenge may be sent
	end               time.Duration // when it is forgotten
}

const (
	// candidateLimit and challengeRate bound the candidates of a shard, and what is begun
	// per second: many callers change at once when a carrier's NAT restarts. A challenge
	// takes some 3 us.
	candidateLimit = 4096
	challengeRate  = 2000
	// challengesMost are sent, challengeEvery apart: libsrt answers an ACK only if its last
	// ACKACK was 10 ms ago.
	challengesMost = 3
	challengeEvery = 15 * time.Millisecond
	// amplification is the most that is sent to an address that has not answered, by what
	// has come from there (RFC 9000, 8.1).
	amplification = 3
	// idlePatience is how long the old address may answer if the caller may be there, idle.
	idlePatience = 500 * time.Millisecond
	// candidateLife is how long an address may take to answer.
	candidateLife = time.Second
	// positionsBack is how far an acknowledged position is behind what a publisher has sent:
	// more than any flow window, so that it is older than the last ACK.
	positionsBack = 1 << 20
)

// headerBytes is what IP and UDP add to a datagram.
func headerBytes(to *addr.AddrPort) int {
	if to.Is4() {
		return 28
	}
	return 48
}

// begin makes an address the candidate of a session and challenges it.
func (s *Shard) begin(i uint32, ss *session, l *letterbox.Letter, fast bool, n int) {
	c := &candidate{
		from: l.From, local: l.Local, sender: l.Sender, fast: fast,
		number: s.challengeNumber(), oldNumber: s.challengeNumber(), patience: s.patience(i, ss), hold: s.quiet(ss),
		received: n + headerBytes(&l.From), since: s.now, next: s.now, end: s.now + candidateLife,
	}
	s.candidates[i] = c
	s.counters.inc(CountCandidates)
	s.challenge(i, ss, c)
}

// patience is how long a session's old address may answer. A player to whom media flows is
// never idle, as it acknowledges every 10 ms. One of libsrt that gets nothing at its new address
// sends only a KEEPALIVE, after a second, and has been without media for that long.
func (s *Shard) patience(i uint32, ss *session) time.Duration {
	t := &s.sessions.cold(i).trace
	if !ss.publisher && t.busy(ss.callerSeen) && s.now-s.stalls.extend(ss.backendSeen) < minQuiet {
		return s.quiet(ss)
	}
	return idlePatience
}

// challengeNumber returns a number that nobody can guess: the generator is ChaCha8 with a seed of
// the kernel's. 0 is that of an ACK without an answer.
func (s *Shard) challengeNumber() uint32 {
	for {
		if n := s.random.Uint32(); n != 0 {
			return n
		}
	}
}

// challenge sends the challenges that are due, and sets the timer.
func (s *Shard) challenge(i uint32, ss *session, c *candidate) {
	size := wire.ACKSize + headerBytes(&c.from)
	if !c.passed && c.challenges < challengesMost && s.now >= c.next && c.sent+size <= amplification*c.received {
		c.challenges++
		c.sent += size
		c.next = s.now + challengeEvery
		a := s.challengeACK(i, ss)
		s.sendChallenge(ss, &c.from, c.local, c.number, a)
		s.sendChallenge(ss, &ss.caller, ss.local, c.oldNumber, a)
	}
	s.wheel.Set(i, s.checkDue(i, ss))
}

func (s *Shard) sendChallenge(ss *session, to *addr.AddrPort, local addr.IP, number uint32, a wire.ACK) {
	s.counters.inc(CountChallenges)
	b := s.keepScratch(wire.AppendACK(s.scratchTail(), number, 0, ss.callerID, a))
	s.capture(ss, capture.ToCaller|capture.Sent, b)
	s.fronts[ss.front].out.Add(*to, local, ss.callerID, b)
}

// challengeACK returns the content of a challenge: a position that the caller has had
// acknowledged long ago, or one before its first for one that sends nothing, and the last round
// trip time, which gosrt takes from any ACK.
func (s *Shard) challengeACK(i uint32, ss *session) wire.ACK {
	ways := s.meters.Report(&ss.meter)
	a := wire.ACK{RTT: 100_000, RTTVar: 50_000, Buffer: 8192} // as libsrt assumes at first
	for _, way := range [...]telemetry.Way{telemetry.ToCaller, telemetry.ToBackend} {
		if q := &ways[way]; q.Heard {
			r := &q.Receiver
			a = wire.ACK{
				RTT: r.RTT, RTTVar: r.RTTVar, Buffer: r.Buffer,
				PacketRate: r.PacketRate, Capacity: r.Capacity, ByteRate: r.ByteRate,
			}
		}
	}
	t := &s.sessions.cold(i).trace
	switch up := s.meters.Sequence(&ss.meter, telemetry.ToBackend); {
	case s.measures(ss, telemetry.ToBackend):
		a.Next = up.Next - positionsBack
	case t.hasData:
		a.Next = t.sequence - positionsBack
	default:
		a.Next = ss.isn - 1
	}
	a.Next &= wire.SequenceMask
	return a
}

// fromCandidate handles a datagram from the address that has been challenged.
func (s *Shard) fromCandidate(i uint32, ss *session, c *candidate, p wire.Packet) Counter {
	c.received = min(c.received+len(p)+headerBytes(&c.from), 1<<20)
	// The first datagram may have proved less than one that follows: a publisher of gosrt
	// sends ACKs all the time, whose position says nothing.
	c.fast = c.fast || s.plausible(i, ss, p) == strong
	switch {
	case p.Is(wire.TypeACKACK) && p.TypeInfo() == c.number:
		c.passed = true
		s.settle(i, ss, c)
		return CountConsumed
	case c.passed && c.fast:
		s.settle(i, ss, c)
	default:
		s.challenge(i, ss, c)
	}
	return DropUnvalidated
}

// settle moves a session to an address that has answered, or waits for the old one.
func (s *Shard) settle(i uint32, ss *session, c *candidate) {
	s.refresh(i, ss)
	switch {
	case ss.callerSeen >= c.since:
		// The old address has sent since: the caller is there, and the other one is
		// somebody who repeats its datagrams.
		s.dropCandidate(i)
	case !c.fast && s.now < c.since+c.patience:
		s.wheel.Set(i, s.checkDue(i, ss))
	case !s.admits(i, ss, c.from.IP) || !s.migrate(i, ss, c):
		s.dropCandidate(i)
	default:
		c.done, c.end = true, s.now+candidateLife
		s.wheel.Set(i, s.checkDue(i, ss))
	}
}

// holds reports whether no other address may be a session's candidate: forgers who do not answer
// must not keep the caller out.
func (c *candidate) holds(now time.Duration) bool {
	return c != nil && !c.done && (c.passed || now < c.since+c.hold)
}

// tickCandidate does what is due for the candidate of a session.
func (s *Shard) tickCandidate(i uint32, ss *session) {
	c := s.candidates[i]
	switch {
	case c == nil:
	case c.passed && !c.done: // also at its end: the patience may be as long
		s.settle(i, ss, c)
	case s.now >= c.end:
		s.dropCandidate(i)
	case c.done:
	default:
		s.challenge(i, ss, c)
	}
}

// due returns when tickCandidate has something to do.
func (c *candidate) due(now time.Duration) time.Duration {
	switch {
	case c.done:
	case c.passed && !c.fast:
		return max(c.since+c.patience, now)
	case !c.passed && c.challenges < challengesMost && c.sent+wire.ACKSize+headerBytes(&c.from) <= amplification*c.received:
		return max(c.next, now)
	}
	return c.end
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
	return number == c.number || number == c.oldNumber
}
