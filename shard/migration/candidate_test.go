package migration

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/shard/letterbox"
	"srtrelay/wire"
)

func newCandidate(size int) *Candidate {
	from := addr.From(netip.MustParseAddrPort("192.0.2.1:4000"))
	c := &Candidate{Letter: letterbox.Letter{From: from}, Patience: IdlePatience, Hold: Quiet(0)}
	c.Begin(time.Hour, size, rand.New(rand.NewPCG(1, 2)))
	return c
}

// challenges returns how many challenges a candidate gets that sends nothing more.
func challenges(c *Candidate) (n int) {
	for now := time.Hour; !c.Expired(now); now += time.Millisecond {
		if c.TakeChallenge(now) {
			n++
		}
	}
	return n
}

// No more is sent to an address that has not answered than Amplification allows, headers included.
func TestChallengesByWhatCame(t *testing.T) {
	if n := challenges(newCandidate(1332)); n != ChallengesMost {
		t.Errorf("%d challenges after media, want %d", n, ChallengesMost)
	}
	const challenge = wire.ACKSize + 28
	if n, want := challenges(newCandidate(wire.HeaderSize)), Amplification*(wire.HeaderSize+28)/challenge; n != want {
		t.Errorf("%d challenges after a header, want %d", n, want)
	}
}

func TestCandidateDecides(t *testing.T) {
	c := newCandidate(1332)
	began := time.Hour
	if c.Receive(control(wire.TypeACKACK, c.OldNumber)) || c.Receive(control(wire.TypeACK, c.Number)) || c.Passed() {
		t.Error("no answer to the challenge passes for one")
	}
	if !c.Holds(began) || c.Holds(began+c.Hold) {
		t.Error("a candidate without an answer does not hold its place for just as long")
	}
	if !c.Receive(control(wire.TypeACKACK, c.Number)) || !c.Passed() {
		t.Error("the answer does not pass")
	}
	if !c.Holds(began + c.Hold) {
		t.Error("a candidate that has answered does not hold its place")
	}
	for _, one := range []struct {
		callerSeen, after time.Duration
		fast              bool
		want              Decision
	}{
		{began - 1, 0, false, DecisionWait},
		{began - 1, IdlePatience, false, DecisionMove},
		{began - 1, 0, true, DecisionMove},
		{began, IdlePatience, true, DecisionForget},
	} {
		c.Fast = one.fast
		if got := c.Decide(began+one.after, one.callerSeen); got != one.want {
			t.Errorf("%+v: decided %d", one, got)
		}
	}
	c.Move(began)
	if c.Holds(began) || !c.Moved() || c.Expired(began) || c.Due(began) != began+CandidateLife {
		t.Error("a candidate that the session has moved to is kept wrongly")
	}
}

// A flood for one socket ID, or of media, leaves the others their part.
func TestLimiterLeavesOthersTheirPart(t *testing.T) {
	var l Limiter
	media := func(id uint32) wire.Packet {
		p := control(wire.TypeKeepalive, 0)
		p.SetDestID(id)
		return p
	}
	flood := func(p wire.Packet) (n int) {
		for range 2 * limiterInAll {
			if l.Allow(time.Hour, p) {
				n++
			}
		}
		return n
	}
	if n := flood(media(1)); n != LimiterPerID {
		t.Errorf("%d of one ID, want %d", n, LimiterPerID)
	}
	if n := flood(media(2)); n != LimiterPerID {
		t.Errorf("%d of another ID, want %d", n, LimiterPerID)
	}
	sum := 0
	for id := range uint32(limiterSlots) {
		sum += flood(media(id))
	}
	if sum != limiterInAll-2*LimiterPerID {
		t.Errorf("%d of all others, want %d", sum, limiterInAll-2*LimiterPerID)
	}
	if !l.Allow(time.Hour, control(wire.TypeACKACK, 1)) {
		t.Error("media took the place of an answer")
	}
	if !l.Allow(time.Hour+LimiterPeriod, media(1)) {
		t.Error("the budget is not renewed")
	}
}
