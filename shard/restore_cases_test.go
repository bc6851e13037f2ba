package shard

import (
	"slices"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/wire"
)

// A freeze is the relay's own silence: no timeout counts it.
func TestFreezeIsAStall(t *testing.T) {
	r := newRig(t, func(c *Config) { c.IdleTimeout = 3 * time.Second })
	r.establish(r.caller, callerID, callerISN, backendID)
	other := r.dialFront()
	r.pass(time.Second)
	r.send(other, conclusion(callerID+1, callerISN, r.cookie(other, callerID+1), 1))
	r.pass(handshake.LegTimeout - 600*time.Millisecond)
	r.takeOver()
	r.elapse(590 * time.Millisecond) // 3.2 s without a datagram, 2.2 s of the handshake
	r.turn()
	r.stalls.due = never
	r.settle()
	if r.count(CountStalls) != 1 || r.count(CountHalfOpen) != 1 || r.count(CountTombstones) != 0 {
		t.Fatalf("counters %v, want a stall, and no session that ends", r.nonzero())
	}
	r.pass(610 * time.Millisecond)
	r.expect(other, wire.HandshakeType(handshake.CodeDown))
	r.pass(600 * time.Millisecond)
	r.expectShutdown(r.caller, callerID)
}

// One that is short is none, as with a process that is scheduled late.
func TestShortFreezeIsNoStall(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	r.takeOver()
	r.elapse(100 * time.Millisecond)
	r.turn()
	if r.count(CountStalls) != 0 {
		t.Errorf("counters %v", r.nonzero())
	}
}

// Sessions follow their listener to another index.
func TestListenersInAnotherOrder(t *testing.T) {
	r := everyState(t)
	next := r.successor()
	slices.Reverse(next.fronts)
	for k := range next.fronts {
		next.fronts[k].index = uint8(k)
	}
	if err := next.restore(r.appendSnapshot(nil)); err != nil {
		t.Fatal(err)
	}
	old := r.Shard
	r.Shard, r.owner.shards[0] = next, next
	t.Cleanup(func() { _, _ = old.poller.Close(), old.batch.Close() })
	next.sessions.each(func(i uint32, ss *session) {
		if was := old.sessions.at(i).front; ss.front == was || next.fronts[ss.front].sock != old.fronts[was].sock {
			t.Errorf("session %d has listener %d, had %d", i, ss.front, was)
		}
	})
	r.goesOn()
}

// The sessions of a lost backend are ended in slices; the next process ends the rest.
func TestTakeOverWhileSessionsEnd(t *testing.T) {
	const n = 3*endsPerTurn + 10
	r := newRig(t, func(c *Config) { c.MaxSessions, c.Events = 2*n, nil })
	r.established(8 * n)
	var lost *peer
	for _, p := range r.peers.byAddr {
		if p.id == "b3" {
			lost = p
		}
	}
	r.backendLost(lost, proof{at: r.now, silentSince: never})
	r.turn()
	if left := lost.sessions; left != n-endsPerTurn {
		t.Fatalf("%d sessions left after a turn, want %d", left, n-endsPerTurn)
	}
	r.takeOver()
	for range 4 {
		r.turn()
	}
	ended := 0
	r.sessions.each(func(_ uint32, ss *session) {
		switch {
		case ss.state == StateClosing && ss.cause == CauseBackendLost:
			ended++
		case ss.state != StateEstablished:
			t.Errorf("a session is %v by %v", ss.state, ss.cause)
		}
	})
	if ended != n || len(r.peers.byAddr) != 7 || len(r.peers.ending) != 0 {
		t.Errorf("%d sessions ended, want %d; %d peers", ended, n, len(r.peers.byAddr))
	}
	if fates := r.balancer.outcomes; len(fates) != n || fates[n-1].Fate != backend.FateLost {
		t.Errorf("%d outcomes, want %d", len(fates), n)
	}
	// Nothing more is to leave when the rig ends.
	r.sessions.each(func(_ uint32, ss *session) { ss.state = StateFree })
}
