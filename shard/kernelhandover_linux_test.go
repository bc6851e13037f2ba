package shard

import (
	"testing"

	"srtrelay/observe/telemetry"
	"srtrelay/shard/kernelpath"
)

// A way is offered to the program only when it has seen a datagram of the other one: the
// addresses that it writes may be translated.
func TestHandoverWaitsForBothWays(t *testing.T) {
	enterNamespace(t)
	r := newKernelRig(t, nil)
	upstream := r.establish(r.caller, callerID, callerISN, backendID)
	i, _ := r.session()
	for range 3 {
		r.send(r.caller, keepalive(backendID))
	}
	if n := r.count(CountKernelHandovers); n != 0 || len(r.kernel.pending) != 0 {
		t.Errorf("%d ways are offered, %d wait for the outboxes, though the backend was silent", n, len(r.kernel.pending))
	}
	r.reply(upstream, keepalive(callerID))
	if n := r.count(CountKernelHandovers); n != 2 {
		t.Errorf("%d ways are offered, want both", n)
	}
	r.send(r.caller, keepalive(backendID))
	if mode := r.kernel.path.Way(i, int(telemetry.ToBackend)).Mode(); mode != kernelpath.On {
		t.Errorf("mode %d", mode)
	}
}

// A session leaves the path when the program sees no datagram of a way, or fewer than the shard.
func TestSessionsPassedBy(t *testing.T) {
	enterNamespace(t)
	r := newKernelRig(t, nil)
	r.establish(r.caller, callerID, callerISN, backendID)
	i, ss := r.session()
	byHand := func() { r.relayedUp(i, ss, telemetry.ToBackend, keepalive(backendID)) }
	byHand()
	byHand()
	if !ss.inKernel {
		t.Error("the session has left the path at once")
	}
	r.now += handoverPatience
	byHand()
	if ss.inKernel {
		t.Error("none is seen: the session is in the path")
	}
	r.enterKernel(i, ss, false)
	r.send(r.caller, keepalive(backendID))
	if !ss.inKernel {
		t.Fatal("the session has not entered again")
	}
	byHand()
	if ss.inKernel {
		t.Error("one is not seen: the session is in the path")
	}
}
