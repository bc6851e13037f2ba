package shard

import (
	"testing"

	"srtrelay/backend"
	"srtrelay/handshake"
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
		r.expect(r.caller, wire.HandshakeType(handshake.Down))
	}
	cookie := r.cookie(r.caller, callerID+10)
	r.send(r.caller, conclusion(callerID+10, callerISN, cookie, 1))
	r.expect(r.caller, wire.HandshakeType(handshake.Overload))
	if r.count(AtSourceCap) != 1 || r.count(HalfOpen) != 0 {
		t.Errorf("counters %v", r.nonzero())
	}
	r.pass(handshake.RejectionKept + wheelTick)
	r.wantEmpty()
	r.send(r.caller, conclusion(callerID+10, callerISN, cookie, 2))
	r.expect(r.caller, wire.HandshakeType(handshake.Down))
}
