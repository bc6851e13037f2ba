package shard

import (
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/wire"
)

func TestSessionFromFirstToLast(t *testing.T) {
	r := newRig(t)
	upstream := r.establish(r.caller, callerID, callerISN, backendID)
	r.send(r.caller, packet(backendID, 1332))
	if b, from := r.receive(r.backend); len(b) != 1332 || from != upstream {
		t.Fatalf("backend received %d bytes from %v, want 1332 from %v", len(b), from, upstream)
	}
	r.reply(upstream, packet(callerID, 44))
	if b, _ := r.receive(r.caller); len(b) != 44 {
		t.Fatalf("caller received %d bytes, want 44", len(b))
	}
	r.send(r.caller, wire.AppendShutdown(nil, 9, backendID))
	r.expectShutdown(r.backend, backendID)
	e := r.lastEvent(EventSessionEnded)
	if e.Cause != CauseCaller || e.ToBackend != (Flow{2, 1352}) || e.ToCaller != (Flow{1, 44}) {
		t.Errorf("ended: %v %+v %+v", e.Cause, e.ToBackend, e.ToCaller)
	}
	r.send(r.caller, packet(backendID, 100))
	if r.count(DropClosed) != 1 {
		t.Errorf("a late datagram was not dropped as closed: %v", r.nonzero())
	}
	r.pass(tombstoneTTL + wheelTick)
	r.wantEmpty()
	if len(r.balancer.released) != 1 || r.balancer.released[0] != 7 {
		t.Errorf("released leases %v, want [7]", r.balancer.released)
	}
	r.send(r.caller, packet(backendID, 100))
	if r.count(DropForeignCaller) != 1 {
		t.Errorf("after the tombstone: %v", r.nonzero())
	}
}

func TestIdleSessionEnds(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	r.pass(29 * time.Second)
	r.expectNothing(r.caller)
	r.send(r.caller, packet(backendID, 20)) // not idle yet, and no longer
	r.receive(r.backend)
	r.pass(29 * time.Second)
	r.expectNothing(r.caller)
	r.pass(2 * time.Second)
	r.expectShutdown(r.caller, callerID)
	r.expectShutdown(r.backend, backendID)
	if e := r.lastEvent(EventSessionEnded); e.Cause != CauseIdle {
		t.Errorf("cause %v, want idle", e.Cause)
	}
	r.pass(tombstoneTTL + wheelTick)
	r.wantEmpty()
}

func TestSilentBackendEndsSession(t *testing.T) {
	r := newRig(t)
	upstream := r.establish(r.caller, callerID, callerISN, backendID)
	for range 10 { // the caller sends, the backend answers: nothing happens
		r.send(r.caller, packet(backendID, 20))
		r.reply(upstream, packet(callerID, 20))
		r.pass(time.Second)
		r.receive(r.caller)
		r.receive(r.backend)
	}
	for range 4 {
		r.expectNothing(r.caller)
		r.send(r.caller, packet(backendID, 20))
		r.receive(r.backend)
		r.pass(time.Second)
	}
	r.pass(callerAliveFor / 2)
	r.expectShutdown(r.caller, callerID)
	if e := r.lastEvent(EventSessionEnded); e.Cause != CauseBackendSilent {
		t.Errorf("cause %v, want backend silent", e.Cause)
	}
	if len(r.balancer.unreachable) != 1 {
		t.Errorf("unreachable %v, want the backend once", r.balancer.unreachable)
	}
}

// A caller that stopped sending itself says nothing about its backend.
func TestBothSilentIsNotABackendsFault(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	r.send(r.caller, packet(backendID, 20))
	for range 20 {
		r.pass(time.Second)
	}
	r.expectNothing(r.caller)
	if r.count(CountSessions) != 1 || r.count(CountTombstones) != 0 {
		t.Errorf("the session has ended: %v", r.nonzero())
	}
}

// The bug: a SHUTDOWN lost on the way left its peer to its own 5 s timeout.
func TestLostShutdownIsRepeated(t *testing.T) {
	r := newRig(t)
	upstream := r.establish(r.caller, callerID, callerISN, backendID)
	r.reply(upstream, wire.AppendShutdown(nil, 0, callerID))
	r.receive(r.caller) // lost
	r.send(r.caller, packet(backendID, 20))
	r.expectNothing(r.caller) // it may just have crossed the SHUTDOWN
	r.pass(shutdownInterval)
	r.send(r.caller, packet(backendID, 20))
	r.expectShutdown(r.caller, callerID)
	r.send(r.caller, packet(backendID, 20))
	r.expectNothing(r.caller) // no storm
	// The backend said it itself.
	r.reply(upstream, packet(callerID, 20))
	r.expectNothing(r.backend)
}

// A caller that restarts under the same port and socket ID, with a new ISN.
func TestSameIDNewISNReplaces(t *testing.T) {
	r := newRig(t)
	first := r.establish(r.caller, callerID, callerISN, backendID)
	cookie := r.admission.cookies.Generate(r.now, fromConn(r.caller))
	r.send(r.caller, conclusion(callerID, callerISN+5, cookie, 10))
	// The old connection's backend is told, the caller is not: its new socket
	// has the same ID.
	r.expectShutdown(r.backend, backendID)
	h, second := r.answerInduction()
	if second == first {
		t.Error("the new session shares the old one's upstream port: their replies look alike")
	}
	r.reply(second, accept(h, backendID+1))
	r.expect(r.caller, wire.HandshakeConclusion)
	r.reply(first, packet(callerID, 20)) // for the old one
	r.expectNothing(r.caller)
	r.reply(second, packet(callerID, 30))
	if b, _ := r.receive(r.caller); len(b) != 30 {
		t.Errorf("received %d bytes, want the new session's 30", len(b))
	}
}

// A backend that accepts after the caller was told off holds a connection
// that nobody uses.
func TestLateResponseIsShutDown(t *testing.T) {
	r := newRig(t)
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	h, upstream := r.answerInduction()
	for range 9 {
		r.pass(handshake.LegRetryInterval)
		r.receive(r.backend) // retries
	}
	r.expect(r.caller, wire.HandshakeType(handshake.CodeDown))
	r.pass(shutdownInterval)
	r.reply(upstream, accept(h, backendID))
	r.expectShutdown(r.backend, backendID)
	r.expectNothing(r.caller)
	r.pass(handshake.RejectionTTL)
	r.wantEmpty()
}

func TestUpstreamPortsRunOut(t *testing.T) {
	r := newRig(t) // two ports
	r.establish(r.caller, callerID, callerISN, backendID)
	second := r.dialFront()
	r.establish(second, callerID, callerISN, backendID+1)
	third := r.dialFront()
	r.send(third, conclusion(callerID, callerISN, r.cookie(third, callerID), 1))
	r.expect(third, wire.HandshakeType(handshake.CodeOverload))
	r.expectNothing(r.backend)
}

// Equal backend IDs on one caller port, from two backends or one: the second
// cannot be told from the first.
func TestEqualBackendIDsOnOnePort(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	r.send(r.caller, conclusion(callerID+1, callerISN, r.cookie(r.caller, callerID+1), 1))
	h, upstream := r.answerInduction()
	r.reply(upstream, accept(h, backendID))
	r.expectShutdown(r.backend, backendID)
	r.expect(r.caller, wire.HandshakeType(handshake.CodeOverload))
	r.send(r.caller, packet(backendID, 40))
	if b, _ := r.receive(r.backend); len(b) != 40 {
		t.Error("the first session suffers")
	}
}

func TestResponseIsReplayedForAWhile(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	cookie := r.admission.cookies.Generate(r.now, fromConn(r.caller))
	r.pass(time.Second)
	r.send(r.caller, conclusion(callerID, callerISN, cookie, 1000500))
	r.expect(r.caller, wire.HandshakeConclusion)
	r.expectNothing(r.caller)
	r.expectNothing(r.backend)
	r.send(r.caller, packet(backendID, 20)) // the caller has it
	r.send(r.caller, conclusion(callerID, callerISN, cookie, 1000500))
	r.expectNothing(r.caller)
	r.pass(handshake.ResponseTTL)
	r.send(r.caller, conclusion(callerID, callerISN, cookie, 9000500))
	r.expectNothing(r.caller)
	if r.count(CountReplays) != 1 || r.count(DropDuplicate) != 2 {
		t.Errorf("counters %v, want one replay and two duplicates", r.nonzero())
	}
	if r.sessions.cold(0).replay != nil {
		t.Error("the response is kept for ever")
	}
}

func TestBusyBalancer(t *testing.T) {
	r := newRig(t)
	r.balancer.busy = true
	cookie := r.cookie(r.caller, callerID)
	r.send(r.caller, conclusion(callerID, callerISN, cookie, 1))
	if r.count(DropBusy) != 1 {
		t.Errorf("counters %v, want the CONCLUSION dropped as busy", r.nonzero())
	}
	r.wantEmpty()
	r.balancer.busy = false
	r.send(r.caller, conclusion(callerID, callerISN, cookie, 300)) // the caller's own retry
	h, upstream := r.answerInduction()
	r.reply(upstream, accept(h, backendID))
	r.expect(r.caller, wire.HandshakeConclusion)
	r.balancer.busy = true
	r.send(r.caller, wire.AppendShutdown(nil, 0, backendID))
	if len(r.outcomes.unreported) != 1 {
		t.Fatalf("%d leases owed, want 1", len(r.outcomes.unreported))
	}
	if due, ok := r.nextDue(); !ok || due > r.now+reportRetry {
		t.Error("nothing wakes the loop for the lease that is owed")
	}
	r.balancer.busy = false
	r.settle()
	if len(r.outcomes.unreported) != 0 || len(r.balancer.released) != 1 {
		t.Errorf("owed %v, released %v", r.outcomes.unreported, r.balancer.released)
	}
}

// An answer that comes after the caller was rejected must give its lease back,
// also when the slot serves another session by then.
func TestAnswerTooLate(t *testing.T) {
	r := newRig(t)
	r.balancer.hold = true
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	r.pass(handshake.LegTimeout + wheelTick)
	r.expect(r.caller, wire.HandshakeType(handshake.CodeDown))
	r.pass(handshake.RejectionTTL + wheelTick)
	r.wantEmpty()
	other := r.dialFront()
	r.send(other, conclusion(callerID+1, callerISN, r.cookie(other, callerID+1), 1))
	r.balancer.held[0]()
	r.settle()
	r.expectNothing(r.backend)
	if len(r.balancer.released) != 1 {
		t.Errorf("released %v, want the late answer's lease", r.balancer.released)
	}
	r.balancer.held[1]()
	r.settle()
	r.expect(r.backend, wire.HandshakeInduction)
}

func TestNoBackend(t *testing.T) {
	r := newRig(t)
	r.balancer.target, r.balancer.err = backend.Target{}, backend.ErrNone
	cookie := r.cookie(r.caller, callerID)
	r.send(r.caller, conclusion(callerID, callerISN, cookie, 1))
	r.expect(r.caller, wire.HandshakeType(handshake.CodeDown))
	r.pass(time.Second)
	r.send(r.caller, conclusion(callerID, callerISN, cookie, 1000001))
	r.expect(r.caller, wire.HandshakeType(handshake.CodeDown)) // replayed
	r.pass(handshake.RejectionTTL)
	r.wantEmpty()
}

func TestStopTellsEverybody(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	waiting := r.dialFront()
	r.send(waiting, conclusion(callerID+1, callerISN, r.cookie(waiting, callerID+1), 1))
	r.expect(r.backend, wire.HandshakeConclusion)
	r.inbox.postAlways((*Shard).beginStop)
	r.settle()
	r.expectShutdown(r.caller, callerID)
	r.expectShutdown(r.backend, backendID)
	r.expect(waiting, wire.HandshakeType(handshake.CodeDown))
	if !r.exiting {
		t.Error("the loop would go on")
	}
	r.close()
	r.wantEmpty()
}

// The bug: a network that duplicates gave a gosrt caller two INDUCTION replies,
// for each of which it made another key.
func TestCopiedInductionGetsOneReply(t *testing.T) {
	r := newRig(t)
	r.pass(time.Second)
	request := handshake.AppendInduction(nil, callerID, 1, r.front.Addr())
	r.send(r.caller, request)
	r.expect(r.caller, wire.HandshakeInduction)
	r.send(r.caller, request)
	r.expectNothing(r.caller)
	wire.Packet(request).SetTimestamp(250_000) // a retry
	r.send(r.caller, request)
	r.expect(r.caller, wire.HandshakeInduction)
	if r.count(CountInductions) != 2 || r.count(DropDuplicate) != 1 {
		t.Errorf("counters %v, want two replies and one duplicate", r.nonzero())
	}
}
