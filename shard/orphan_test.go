package shard

import (
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/handshake"
	"srtrelay/wire"
)

// The bug: a backend that was left for another while it had the CONCLUSION, and
// accepted after all, was told nothing. SRS kept a publisher whom nobody fed,
// and refused the caller's own next try.
func TestLateAcceptAfterFailoverIsShutDown(t *testing.T) {
	r := newRig(t)
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	late, upstream := r.answerInduction()
	first, second := r.backend, r.second()
	for range 4 {
		r.pass(handshake.LegRetryInterval)
	}
	r.drain(first)
	r.backend = second
	h, other := r.answerInduction()
	r.reply(other, accept(h, backendID))
	r.expect(r.caller, wire.HandshakeConclusion)

	r.backend = first
	forged := wire.Handshake(accept(late, 0x666))
	forged.SetISN(callerISN + 1)
	r.reply(upstream, forged)
	r.expectNothing(first)
	r.pass(4 * time.Second) // it was stopped
	r.reply(upstream, accept(late, backendID+1))
	r.expectShutdown(first, backendID+1)
	r.reply(upstream, accept(late, backendID+1))
	r.expectNothing(first) // no storm
	r.pass(shutdownInterval)
	r.reply(upstream, packet(callerID, 20)) // that SHUTDOWN was lost
	r.expectShutdown(first, backendID+1)
	r.pass(shutdownInterval)
	r.reply(upstream, wire.AppendShutdown(nil, 0, callerID))
	r.expectNothing(first) // it is closed
	r.expectNothing(r.caller)
	if n := r.count(DropClosed); n != 5 {
		t.Errorf("%d datagrams of the orphan dropped as closed, want 5: %v", n, r.nonzero())
	}
	r.pass(orphanTTL)
	r.reply(upstream, accept(late, backendID+1))
	r.expectNothing(first)
	if n := r.count(DropForeignBackend); n != 1 {
		t.Errorf("%d foreign datagrams, want 1 when the orphan is forgotten", n)
	}
}

// Likewise where the caller was rejected, after the rejection is forgotten.
func TestLateAcceptAfterRejectionIsShutDown(t *testing.T) {
	r := newRig(t)
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	h, upstream := r.answerInduction()
	for range 9 {
		r.pass(handshake.LegRetryInterval)
	}
	r.expect(r.caller, wire.HandshakeType(handshake.CodeDown))
	r.drain(r.backend)
	r.pass(handshake.RejectionTTL + wheelTick)
	r.wantEmpty()
	r.reply(upstream, accept(h, backendID))
	r.expectShutdown(r.backend, backendID)
}

// A backend that has seen an INDUCTION only cannot accept, and one that is
// gone does not.
func TestNoOrphanWithoutConclusion(t *testing.T) {
	r := newRig(t)
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	r.second()
	for range 4 {
		r.pass(handshake.LegRetryInterval)
	}
	if len(r.orphans.byKey) != 0 {
		t.Errorf("%d orphans, want none", len(r.orphans.byKey))
	}
}

// A new session with the orphan's caller ID takes another upstream socket: a
// late answer to the orphan would look like its own. Without another it goes
// first.
func TestOrphanKeepsItsPort(t *testing.T) {
	r := newRig(t, func(c *Config) { c.UpstreamPorts = 2 })
	to := fromConn(r.backend)
	r.orphans.add(r.now, orphanKey{to, callerID, 0}, callerISN)
	if port, ok := r.pickUpstream(&to, callerID+1); !ok || port != 0 {
		t.Errorf("port %d, %v for another ID; want 0", port, ok)
	}
	if port, ok := r.pickUpstream(&to, callerID); !ok || port != 1 {
		t.Errorf("port %d, %v; want the second", port, ok)
	}
	r.orphans.add(r.now, orphanKey{to, callerID, 1}, callerISN)
	if port, ok := r.pickUpstream(&to, callerID); !ok || port != 1 || r.orphans.find(r.now, orphanKey{to, callerID, 1}) != nil {
		t.Errorf("port %d, %v; want an orphan to give way", port, ok)
	}
}

func TestOrphansAreBounded(t *testing.T) {
	var o orphans
	key := func(k int) orphanKey { return orphanKey{addr.AddrPort{Port: 1}, uint32(k), 0} }
	now := time.Second
	for k := range 3 * orphanLimit {
		now++
		o.add(now, key(k), 1)
		if len(o.byKey) > orphanLimit || len(o.queue) > 2*orphanLimit+1 {
			t.Fatalf("%d orphans, %d in the queue after %d", len(o.byKey), len(o.queue), k)
		}
	}
	if o.find(now, key(2*orphanLimit-1)) != nil || o.find(now, key(2*orphanLimit)) == nil {
		t.Error("not the oldest have given way")
	}
	// One that is added again lasts from then on.
	o.add(now+1, key(2*orphanLimit+5), 2)
	if o.find(now+orphanTTL, key(3*orphanLimit-1)) != nil || o.find(now+orphanTTL, key(2*orphanLimit+5)) == nil {
		t.Error("they do not end when they should")
	}
	o.add(now+2*orphanTTL, key(0), 1)
	if len(o.byKey) != 1 || len(o.queue)-o.head != 1 {
		t.Errorf("%d left, %d in the queue; want the latest", len(o.byKey), len(o.queue)-o.head)
	}
}
