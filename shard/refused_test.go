package shard

import (
	"slices"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/wire"
)

// fates returns what the balancer was told of a lease.
func (r *rig) fates(l backend.Lease) (all []backend.Fate) {
	for _, o := range r.balancer.outcomes {
		if o.Lease == l {
			all = append(all, o.Fate)
		}
	}
	return all
}

func (r *rig) wantFates(l backend.Lease, want ...backend.Fate) {
	r.t.Helper()
	if got := r.fates(l); !slices.Equal(got, want) {
		r.t.Errorf("of lease %d the balancer was told %v, want %v", l, got, want)
	}
}

// rejectNext has the rig's backend reject the CONCLUSION that it gets next.
func (r *rig) rejectNext(code handshake.Code) {
	r.t.Helper()
	h, upstream := r.answerInduction()
	r.reply(upstream, handshake.AppendRejection(nil, h, code))
}

// The bug: a backend that rejected for want of resources lost its callers,
// though others could take them.
func TestRefusalFailsOver(t *testing.T) {
	for _, code := range []handshake.Code{1001, 1003, 1006, 1007, 2402, 2500, 2503, 2507} {
		r := newRig(t)
		r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
		second := r.second()
		r.rejectNext(code)
		r.expectNothing(r.caller)
		r.backend = second
		h, upstream := r.answerInduction()
		if q := r.balancer.asked[1]; q.Tried != [2]backend.ID{"b1"} {
			t.Errorf("%v: asked for another but %v", code, q.Tried)
		}
		r.reply(upstream, accept(h, backendID))
		r.expect(r.caller, wire.HandshakeConclusion)
		r.wantFates(7, backend.FateRefused)
		r.wantFates(8, backend.FateBegan)
		if len(r.balancer.unreachable) != 0 || r.count(CountFailovers) != 1 || r.count(CountRejected) != 0 {
			t.Errorf("%v: unreachable %v, counters %v", code, r.balancer.unreachable, r.nonzero())
		}
		r.send(r.caller, wire.AppendShutdown(nil, 0, backendID))
		r.pass(tombstoneTTL + wheelTick)
		r.wantEmpty()
		r.wantFates(8, backend.FateBegan, backend.FateEnded)
	}
}

// A rejection that means the caller is the caller's at once.
func TestDenialPassesThrough(t *testing.T) {
	for _, code := range []handshake.Code{1002, 1010, 1011, 2000, 2400, 2401, 2403, 2404, 2409, 2600, 3001} {
		r := newRig(t)
		r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
		second := r.second()
		r.rejectNext(code)
		r.expect(r.caller, wire.HandshakeType(code))
		r.expectNothing(second)
		r.wantFates(7, backend.FateDenied)
	}
}

// Where no other backend can take the caller it is told what the last one
// said, be it at once or at the deadline.
func TestLastRefusalIsTheCallers(t *testing.T) {
	r := newRig(t)
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	r.balancer.err = backend.ErrNone
	r.rejectNext(1003)
	r.expect(r.caller, 1003)
	r.wantFates(7, backend.FateRefused)
	if e := r.lastEvent(EventCallerRejected); e.Code != 1003 || e.Backend != "b1" {
		t.Errorf("event %+v", e)
	}
	r.pass(handshake.RejectionTTL + wheelTick)
	r.wantEmpty()

	r = newRig(t)
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	second := r.second()
	r.rejectNext(2507)
	r.balancer.err = backend.ErrNone
	r.pass(handshake.LegTimeout + wheelTick) // b2 says nothing
	r.expect(r.caller, 2507)
	if r.drain(second) == 0 {
		t.Error("the second was not tried")
	}
	r.wantFates(7, backend.FateRefused)
	r.wantFates(8, backend.FateSilent)
}

// Three backends are asked, and no more.
func TestRefusalsOfThreeBackends(t *testing.T) {
	r := newRig(t)
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	for k, code := range []handshake.Code{1003, 2503, 2402} {
		next := r.second()
		r.balancer.target.ID, r.balancer.target.Lease = backend.ID([]string{"b2", "b3", "b4"}[k]), backend.Lease(8+k)
		r.rejectNext(code)
		r.backend = next
	}
	r.expect(r.caller, 2402)
	r.expectNothing(r.backend)
	if len(r.balancer.asked) != 3 {
		t.Errorf("asked for %d backends", len(r.balancer.asked))
	}
	for _, l := range []backend.Lease{7, 8, 9} {
		r.wantFates(l, backend.FateRefused)
	}
}

// A resolver that is too busy, and a backend that refuses meanwhile.
func TestRefusalWhileBusy(t *testing.T) {
	r := newRig(t)
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	r.balancer.busy = true
	r.rejectNext(1003)
	r.expect(r.caller, 1003)
	if len(r.outcomes.unreported) != 1 {
		t.Errorf("owed %v", r.outcomes.unreported)
	}
	r.balancer.busy = false
	r.pass(reportRetry)
	r.wantFates(7, backend.FateRefused)
}

// How a session ended, by whom and after how long, reaches the balancer.
func TestOutcomesOfSessions(t *testing.T) {
	r := newRig(t)
	upstream := r.establish(r.caller, callerID, callerISN, backendID)
	r.pass(300 * time.Millisecond)
	r.reply(upstream, wire.AppendShutdown(nil, 0, callerID))
	r.wantFates(7, backend.FateBegan, backend.FateClosed)
	if o := r.balancer.outcomes[1]; o.Lasted < 300*time.Millisecond || o.Lasted > 5*time.Second {
		t.Errorf("%+v", o)
	}
	for cause, want := range map[Cause]backend.Fate{
		CauseCaller: backend.FateEnded, CauseBackend: backend.FateClosed, CauseIdle: backend.FateEnded, CauseBackendSilent: backend.FateSilent,
		CauseBackendLost: backend.FateLost, CauseReplaced: backend.FateEnded, CauseStopped: backend.FateEnded, CauseKicked: backend.FateEnded, CauseCrash: backend.FateEnded,
	} {
		if got := cause.fate(); got != want {
			t.Errorf("%v is told as %v, want %v", cause, got, want)
		}
	}
}

// What a busy balancer could not take is told in order: a lease that began
// after it ended would be no lease.
func TestOutcomesKeepTheirOrder(t *testing.T) {
	r := newRig(t)
	r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
	h, upstream := r.answerInduction()
	r.balancer.busy = true
	r.reply(upstream, accept(h, backendID))
	r.expect(r.caller, wire.HandshakeConclusion)
	r.reply(upstream, wire.AppendShutdown(nil, 0, callerID))
	if len(r.outcomes.unreported) != 2 {
		t.Fatalf("owed %v", r.outcomes.unreported)
	}
	r.balancer.busy = false
	r.pass(reportRetry)
	r.wantFates(7, backend.FateBegan, backend.FateClosed)
}
