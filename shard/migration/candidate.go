package migration

import (
	"math/rand/v2"
	"time"

	"srtrelay/addr"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/letterbox"
	"srtrelay/wire"
)

// Candidate is an address that a session may move to. The challenge is a full ACK with a random
// number and an old position: a live peer answers it with an ACKACK of that number and takes
// nothing else from it. The old address gets one of its own, so that a caller who is still there
// answers too, and stays.
type Candidate struct {
	letterbox.Letter // where the first datagram came from, and which shard received it

	Fast     bool          // the answer suffices; else the old address has Patience to answer
	Patience time.Duration // see Trace.Patience
	Hold     time.Duration // no other address may take its place before

	// Number and OldNumber are those of the challenges to the candidate and to the old address.
	Number, OldNumber uint32

	passed         bool // it has answered
	moved          bool // the session is there; late answers are swallowed until end
	challenges     int
	received, sent int // bytes with headers, from and to the new address
	since          time.Duration
	next           time.Duration // when the next challenge may be sent
	end            time.Duration // when it is forgotten
}

const (
	// CandidateLimit and ChallengeRate bound the candidates of a shard, and what is begun
	// per second: many callers change at once when a carrier's NAT restarts. A challenge
	// takes some 3 us.
	CandidateLimit = 4096
	ChallengeRate  = 2000

	// ChallengesMost are sent, challengeEvery apart: libsrt answers an ACK only if its last
	// ACKACK was 10 ms ago.
	ChallengesMost = 3
	challengeEvery = 15 * time.Millisecond

	// Amplification is the most that is sent to an address that has not answered, by what
	// has come from there (RFC 9000, 8.1).
	Amplification = 3

	// IdlePatience is how long the old address may answer if the caller may be there, idle.
	IdlePatience = 500 * time.Millisecond
	// CandidateLife is how long an address may take to answer.
	CandidateLife = time.Second

	// PositionsBack is how far an acknowledged position is behind what a publisher has sent:
	// more than any flow window, so that it is older than the last ACK.
	PositionsBack = 1 << 20
)

// headerBytes is what IP and UDP add to a datagram.
func headerBytes(to *addr.AddrPort) int {
	if to.Is4() {
		return 28
	}
	return 48
}

// Begin makes an address a candidate by its first datagram, of a size.
func (c *Candidate) Begin(now time.Duration, size int, random *rand.Rand) {
	c.Number, c.OldNumber = challengeNumber(random), challengeNumber(random)
	c.received = size + headerBytes(&c.From)
	c.since, c.next, c.end = now, now, now+CandidateLife
}

// challengeNumber returns a number that nobody can guess, if random is secret. 0 is that of an ACK
// without an answer.
func challengeNumber(random *rand.Rand) uint32 {
	for {
		if n := random.Uint32(); n != 0 {
			return n
		}
	}
}

// Patience is how long a session's old address may answer. A player to whom media flows is
// never idle, as it acknowledges every 10 ms. One of libsrt that gets nothing at its new address
// sends only a KEEPALIVE, after a second, and has been without media for that long.
// backendSilent is how long the backend has sent nothing.
func (t *Trace) Patience(s *Session, publisher bool, backendSilent time.Duration) time.Duration {
	if !publisher && t.busy(s.CallerSeen) && backendSilent < minQuiet {
		return s.Quiet
	}
	return IdlePatience
}

// mayChallenge reports whether another challenge may be sent, once it is time.
func (c *Candidate) mayChallenge() bool {
	return !c.passed && c.challenges < ChallengesMost &&
		c.sent+wire.ACKSize+headerBytes(&c.From) <= Amplification*c.received
}

// TakeChallenge reports whether a challenge is due, and counts it as sent.
func (c *Candidate) TakeChallenge(now time.Duration) bool {
	if !c.mayChallenge() || now < c.next {
		return false
	}
	c.challenges++
	c.sent += wire.ACKSize + headerBytes(&c.From)
	c.next = now + challengeEvery
	return true
}

// ChallengeACK returns the content of a challenge: a position that the caller has had
// acknowledged long ago, or one before its first for one that sends nothing, and the last round
// trip time, which gosrt takes from any ACK.
func (t *Trace) ChallengeACK(s *Session, ways [2]telemetry.Quality) wire.ACK {
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
	switch {
	case s.Measured[telemetry.ToBackend]:
		a.Next = s.Next[telemetry.ToBackend] - PositionsBack
	case t.hasData:
		a.Next = t.sequence - PositionsBack
	default:
		a.Next = s.ISN - 1
	}
	a.Next &= wire.SequenceMask
	return a
}

// Receive counts a datagram from the candidate, and reports whether it is the answer.
func (c *Candidate) Receive(p wire.Packet) (answers bool) {
	c.received = min(c.received+len(p)+headerBytes(&c.From), 1<<20)
	answers = p.Is(wire.TypeACKACK) && p.TypeInfo() == c.Number
	c.passed = c.passed || answers
	return answers
}

// Passed reports whether the candidate has answered.
func (c *Candidate) Passed() bool { return c.passed }

// Moved reports whether the session is at the candidate's address.
func (c *Candidate) Moved() bool { return c.moved }

// Holds reports whether no other address may be a session's candidate: forgers who do not answer
// must not keep the caller out.
func (c *Candidate) Holds(now time.Duration) bool {
	return c != nil && !c.moved && (c.passed || now < c.since+c.Hold)
}

// Decision is what becomes of a candidate that has answered.
type Decision uint8

// Decisions.
const (
	// DecisionForget: the old address has sent since. The caller is there, and the candidate
	// is somebody who repeats its datagrams.
	DecisionForget Decision = iota
	// DecisionWait: the old address may still answer.
	DecisionWait
	// DecisionMove: the session may move.
	DecisionMove
)

// Decide decides about a candidate that has answered.
func (c *Candidate) Decide(now, callerSeen time.Duration) Decision {
	switch {
	case callerSeen >= c.since:
		return DecisionForget
	case !c.Fast && now < c.since+c.Patience:
		return DecisionWait
	}
	return DecisionMove
}

// Move notes that the session has moved to the candidate.
func (c *Candidate) Move(now time.Duration) { c.moved, c.end = true, now+CandidateLife }

// Expired reports whether the candidate is to be forgotten.
func (c *Candidate) Expired(now time.Duration) bool { return now >= c.end }

// Due returns when something is to be done for the candidate: to decide, to challenge, or to
// forget it.
func (c *Candidate) Due(now time.Duration) time.Duration {
	switch {
	case c.moved:
	case c.passed && !c.Fast:
		return max(c.since+c.Patience, now)
	case c.mayChallenge():
		return max(c.next, now)
	}
	return c.end
}
