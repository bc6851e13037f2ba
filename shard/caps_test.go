package shard

import (
	"testing"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/shard/limit"
	"srtrelay/wire"
)

// The bug: another ISN under the same socket ID replaced a pending handshake,
// so one caller could have backends chosen without end, past every cap.
func TestOneAttemptAtATime(t *testing.T) {
	r := newRig(t)
	r.balancer.hold = true
	cookie := r.cookie(r.caller, callerID)
	for isn := range uint32(20) {
		r.send(r.caller, conclusion(callerID, callerISN+isn, cookie, 1))
	}
	if n := len(r.balancer.asked); n != 1 {
		t.Errorf("the balancer was asked %d times, want once", n)
	}
	if r.sessions.live != 1 || r.count(DropDuplicate) != 19 {
		t.Errorf("%d sessions; counters %v", r.sessions.live, r.nonzero())
	}
}

// Rejections are kept for seconds; they count against their source as long.
func TestRejectionsCountAgainstTheirSource(t *testing.T) {
	r := newRig(t) // ten handshakes per source
	r.balancer.target, r.balancer.err = backend.Target{}, backend.ErrNone
	for id := range uint32(10) {
		r.send(r.caller, conclusion(callerID+id, callerISN, r.cookie(r.caller, callerID+id), 1))
		r.expect(r.caller, wire.HandshakeType(handshake.CodeDown))
	}
	cookie := r.cookie(r.caller, callerID+10)
	r.send(r.caller, conclusion(callerID+10, callerISN, cookie, 1))
	r.expectNothing(r.caller) // it repeats it, and there will be room
	if r.count(CountAtSourceCap) != 1 || r.count(DropSourceCap) != 1 || r.count(CountHalfOpen) != 0 {
		t.Errorf("counters %v", r.nonzero())
	}
	r.pass(handshake.RejectionTTL + wheelTick)
	r.wantEmpty()
	r.send(r.caller, conclusion(callerID+10, callerISN, cookie, 2))
	r.expect(r.caller, wire.HandshakeType(handshake.CodeDown))
}

// One host used to be able to take every session of a shard.
func TestSessionsOfOneSourceAreCapped(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxSessionsPerSource = 2 })
	r.establish(r.caller, callerID, callerISN, backendID)
	r.establish(r.caller, callerID+1, callerISN, backendID+1)
	other := r.dialFront() // another port is the same host
	r.send(other, conclusion(callerID+2, callerISN, r.cookie(other, callerID+2), 1))
	r.expect(other, wire.HandshakeType(handshake.CodeOverload))
	if r.count(CountAtSourceSessionCap) != 1 || r.count(CountAtSessionCap) != 0 {
		t.Errorf("counters %v", r.nonzero())
	}
	r.send(r.caller, wire.AppendShutdown(nil, 0, backendID))
	r.expectShutdown(r.backend, backendID)
	r.pass(tombstoneTTL + wheelTick)
	r.establish(other, callerID+3, callerISN, backendID+3)
	if n := r.usage.sources.Find(limit.PrefixOf(fromConn(r.caller).IP, limit.LevelSource)); n.Sessions != 2 || n.Handshakes != 0 {
		t.Errorf("counted %+v", n)
	}
}

// A carrier's NAT is one address: 2,000 callers at once, whose backend takes a
// second, are all let in by the default caps. (512 were, the others refused.)
func TestTwoThousandCallersOfOneAddress(t *testing.T) {
	const callers = 2000
	r := newRig(t, func(c *Config) {
		c.MaxSessions, c.MaxSessionsPerSource, c.MaxHalfOpen, c.MaxHalfOpenPerSource = 100_000, 5000, 8192, 4096
	})
	r.balancer.hold = true // nobody is answered yet
	cookie := r.cookie(r.caller, callerID)
	for id := range uint32(callers) {
		r.send(r.caller, conclusion(callerID+id, callerISN, cookie, 1))
	}
	if r.count(CountHalfOpen) != callers || r.count(CountRejected) != 0 {
		t.Errorf("%d half-open; counters %v", r.count(CountHalfOpen), r.nonzero())
	}
}

// At the cap of half-open handshakes a CONCLUSION is dropped, not refused: when
// its caller repeats it there is room.
func TestCrowdedCallersAreNotRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		at     Counter
		drop   Counter
	}{
		"shard":  {func(c *Config) { c.MaxHalfOpen = 1 }, CountAtHandshakeCap, DropHandshakeCap},
		"source": {func(c *Config) { c.MaxHalfOpenPerSource = 1 }, CountAtSourceCap, DropSourceCap},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.change)
			first := conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1)
			second := conclusion(callerID+1, callerISN, r.cookie(r.caller, callerID+1), 1)
			r.send(r.caller, first)
			r.send(r.caller, second)
			r.expectNothing(r.caller)
			if r.count(c.at) != 1 || r.count(c.drop) != 1 || r.count(CountRejected) != 0 {
				t.Errorf("counters %v", r.nonzero())
			}
			h, upstream := r.answerInduction()
			r.reply(upstream, accept(h, backendID))
			r.expect(r.caller, wire.HandshakeConclusion)
			r.pass(handshake.LegRetryInterval)
			r.send(r.caller, second)
			h, upstream = r.answerInduction()
			r.reply(upstream, accept(h, backendID+1))
			r.expect(r.caller, wire.HandshakeConclusion)
		})
	}
}
