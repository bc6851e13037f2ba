package shard

import (
	"net"
	"testing"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/wire"
)

// second gives the rig another backend, which the balancer names from now on.
func (r *rig) second() *net.UDPConn {
	r.t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	r.balancer.target = backend.Target{ID: "b2", Addr: addrOf(c), Lease: 8}
	return c
}

// drain takes what has arrived at c.
func (r *rig) drain(c *net.UDPConn) (n int) {
	for {
		if b, _ := r.receive(c); b == nil {
			return n
		}
		n++
	}
}

func TestSilentBackendIsReplacedWithinTheHandshake(t *testing.T) {
	r := newRig(t)
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	second := r.second()
	for range 2 {
		r.pass(handshake.LegRetryInterval)
	}
	r.expectNothing(second) // the first one still has its time
	r.pass(handshake.LegRetryInterval + wheelTick)
	h, upstream := r.expect(second, wire.HandshakeInduction)
	again := r.balancer.asked[0]
	again.Tried = [2]backend.ID{"b1"}
	if r.balancer.asked[1] != again {
		t.Errorf("asked again with %+v, want %+v", r.balancer.asked[1], again)
	}
	if len(r.balancer.released) != 1 || r.balancer.released[0] != 7 {
		t.Errorf("released %v, want the first backend's lease", r.balancer.released)
	}
	if len(r.balancer.unreachable) != 1 || r.balancer.unreachable[0] != "b1" {
		t.Errorf("unreachable %v, want b1", r.balancer.unreachable)
	}
	first := r.backend
	r.backend = second
	r.reply(upstream, handshake.AppendInductionReply(nil, h, 0xC0FFEE, 0, upstream.Addr()))
	h, _ = r.expect(second, wire.HandshakeConclusion)
	r.reply(upstream, accept(h, backendID))
	r.expect(r.caller, wire.HandshakeConclusion)
	if e := r.lastEvent(EventSessionBegun); e.Backend != "b2" {
		t.Errorf("begun with %s, want b2", e.Backend)
	}
	// The first one speaks at last: it is nobody's backend any more.
	r.backend = first
	r.reply(upstream, accept(h, backendID+1))
	r.expectNothing(r.caller)
	if r.count(DropForeignBackend) != 1 || r.count(CountFailovers) != 1 {
		t.Errorf("counters %v", r.nonzero())
	}
	r.send(r.caller, wire.AppendShutdown(nil, 0, backendID))
	r.pass(tombstoneTTL + wheelTick)
	r.wantEmpty()
}

// Slow is better than none: without another backend the backend leg goes on.
func TestSlowBackendKeepsItsOnlyChance(t *testing.T) {
	r := newRig(t)
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	r.balancer.target, r.balancer.err = backend.Target{}, backend.ErrNone
	for range 7 {
		r.pass(handshake.LegRetryInterval)
	}
	if len(r.balancer.asked) != 2 {
		t.Errorf("asked %d times, want twice", len(r.balancer.asked))
	}
	h, upstream := r.expect(r.backend, wire.HandshakeInduction)
	r.drain(r.backend)
	r.reply(upstream, handshake.AppendInductionReply(nil, h, 0xC0FFEE, 0, upstream.Addr()))
	h, _ = r.expect(r.backend, wire.HandshakeConclusion)
	r.reply(upstream, accept(h, backendID))
	r.expect(r.caller, wire.HandshakeConclusion)
}

// Every backend is silent: three are tried, and the caller hears in time.
func TestAllBackendsSilent(t *testing.T) {
	r := newRig(t)
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	second := r.second()
	for range 4 {
		r.pass(handshake.LegRetryInterval)
	}
	third := r.second()
	r.balancer.target.ID = "b3"
	for range 5 {
		r.pass(handshake.LegRetryInterval)
	}
	r.expect(r.caller, wire.HandshakeType(handshake.CodeDown))
	if r.drain(r.backend) == 0 || r.drain(second) == 0 || r.drain(third) == 0 {
		t.Error("not all three were tried")
	}
	r.pass(handshake.RejectionTTL + wheelTick)
	r.wantEmpty()
	if n := len(r.balancer.released); n != 3 {
		t.Errorf("%d leases released, want 3", n)
	}
}

// The present backend answers while another is being chosen.
func TestAnswerBeatsTheChoiceOfAnother(t *testing.T) {
	r := newRig(t)
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	r.balancer.hold = true
	second := r.second()
	for range 3 {
		r.pass(handshake.LegRetryInterval + wheelTick)
	}
	h, upstream := r.expect(r.backend, wire.HandshakeInduction)
	r.drain(r.backend)
	r.reply(upstream, handshake.AppendInductionReply(nil, h, 0xC0FFEE, 0, upstream.Addr()))
	h, _ = r.expect(r.backend, wire.HandshakeConclusion)
	r.reply(upstream, accept(h, backendID))
	r.expect(r.caller, wire.HandshakeConclusion)
	r.balancer.held[0]()
	r.settle()
	r.expectNothing(second)
	if len(r.balancer.released) != 1 || r.balancer.released[0] != 8 {
		t.Errorf("released %v, want the lease that came too late", r.balancer.released)
	}
}

// A backend that is known to be gone: another at once, or the rejection at
// once.
func TestLostBackendIsReplacedAtOnce(t *testing.T) {
	r := newRig(t)
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	second := r.second()
	_ = r.backend.Close()
	r.pass(handshake.LegRetryInterval + wheelTick) // meets the closed port
	r.settle()
	r.expect(second, wire.HandshakeInduction)
	_ = second.Close()
	r.balancer.err = backend.ErrNone
	r.pass(handshake.LegRetryInterval + wheelTick)
	r.settle()
	r.expect(r.caller, wire.HandshakeType(handshake.CodeDown))
	if r.count(CountBackendsLost) != 2 {
		t.Errorf("counters %v, want two backends lost", r.nonzero())
	}
}

// The bug: a backend that is reported gone while another is being chosen had a
// second one chosen, and its handshake begun anew when that answer came.
func TestOneChoiceAtATime(t *testing.T) {
	r := newRig(t)
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	r.balancer.hold = true
	second := r.second()
	for range 3 {
		r.pass(handshake.LegRetryInterval + wheelTick)
	}
	for range 2 {
		r.backendLost(r.peers.byAddr[fromConn(r.backend)], proof{at: r.now, silentSince: never})
		r.settle()
	}
	if n := len(r.balancer.held); n != 1 {
		t.Fatalf("%d choices under way, want 1", n)
	}
	r.balancer.held[0]()
	r.settle()
	r.expect(second, wire.HandshakeInduction)
	r.expectNothing(second)
	r.expectNothing(r.caller)
}

func TestNoSuchStreamIsNotFound(t *testing.T) {
	r := newRig(t)
	r.balancer.target, r.balancer.err = backend.Target{}, backend.ErrNoStream
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	r.expect(r.caller, wire.HandshakeType(handshake.CodeNotFound))
}

// A backend that answers the INDUCTION and then hangs is not silent, nor is
// one that was asked a moment before the deadline.
func TestOnlySilenceIsReported(t *testing.T) {
	r := newRig(t)
	r.balancer.target.Lease = 0
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	r.answerInduction()
	r.balancer.err = backend.ErrNone
	for range 9 {
		r.pass(handshake.LegRetryInterval)
	}
	r.expect(r.caller, wire.HandshakeType(handshake.CodeDown))
	if len(r.balancer.unreachable) != 0 {
		t.Errorf("unreachable %v, want none", r.balancer.unreachable)
	}
	r.balancer.err, r.balancer.hold = nil, true
	other := r.dialFront()
	r.send(other, conclusion(callerID+1, callerISN, r.cookie(other, callerID+1), 1))
	r.pass(handshake.LegTimeout - 2*wheelTick)
	r.balancer.held[len(r.balancer.held)-1]()
	r.settle()
	r.pass(4 * wheelTick)
	r.expect(other, wire.HandshakeType(handshake.CodeDown))
	if len(r.balancer.unreachable) != 0 {
		t.Errorf("unreachable %v after a late choice, want none", r.balancer.unreachable)
	}
}
