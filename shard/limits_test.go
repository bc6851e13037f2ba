package shard

import (
	"context"
	"math"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"srtrelay/handshake"
	"srtrelay/shard/ledger"
	"srtrelay/wire"
)

// setLimits does what Group.SetLimits does to a shard, whose loop the test runs.
func (r *rig) setLimits(l Limits) {
	r.t.Helper()
	done := make(chan error, 1)
	go func() { done <- r.owner.SetLimits(r.t.Context(), l) }()
	for {
		select {
		case err := <-done:
			if err != nil {
				r.t.Fatal(err)
			}
			return
		default:
			r.settle()
		}
	}
}

// Other caps count for the next caller; the sessions beyond them go on.
func TestCapsChange(t *testing.T) {
	r := newRig(t)
	l := r.limits
	r.establish(r.caller, callerID, callerISN, backendID)
	r.establish(r.caller, callerID+1, callerISN, backendID+1)
	knock := func(id uint32) {
		t.Helper()
		r.send(r.caller, conclusion(id, callerISN, r.cookie(r.caller, id), 1))
	}
	l.MaxSessions = 1
	r.setLimits(l)
	if r.sessions.live != 2 {
		t.Fatalf("%d sessions", r.sessions.live)
	}
	knock(callerID + 2)
	r.expect(r.caller, wire.HandshakeType(handshake.CodeOverload))
	l.MaxSessions, l.MaxSessionsPerSource = 100, 2
	r.setLimits(l)
	knock(callerID + 3)
	r.expect(r.caller, wire.HandshakeType(handshake.CodeOverload))
	if r.count(CountAtSessionCap) != 1 || r.count(CountAtSourceSessionCap) != 1 {
		t.Errorf("counters %v", r.nonzero())
	}
	l.MaxSessionsPerSource = 0
	r.setLimits(l)
	r.establish(r.caller, callerID+4, callerISN, backendID+4)
	l.MaxHalfOpen = 0
	r.setLimits(l)
	knock(callerID + 5)
	r.expectNothing(r.caller)
	if r.count(DropHandshakeCap) != 1 || r.inbox.limit != 64 {
		t.Errorf("limit of the inbox %d, counters %v", r.inbox.limit, r.nonzero())
	}
}

// A session whose timer is hours away ends by a shorter timeout.
func TestTimeoutsChange(t *testing.T) {
	r := newRig(t, func(c *Config) { c.IdleTimeout, c.BackendSilence = 24*time.Hour, 24*time.Hour })
	r.establish(r.caller, callerID, callerISN, backendID)
	r.pass(time.Hour)
	if r.count(CountTombstones) != 0 {
		t.Fatal("ended")
	}
	l := r.limits
	l.IdleTimeout, l.BackendSilence = 2*time.Hour, 10*time.Second
	r.setLimits(l)
	r.pass(59 * time.Minute)
	if r.count(CountTombstones) != 0 {
		t.Fatal("ended too soon")
	}
	r.pass(2 * time.Minute)
	if e := r.lastEvent(EventSessionEnded); e.Cause != CauseIdle {
		t.Errorf("cause %v", e.Cause)
	}
}

// Memory that was sized at the start does not grow.
func TestCheckLimits(t *testing.T) {
	r := newRig(t)
	for most, want := range map[int]bool{1: true, 100: true, 1_000_000: true, indexLimit + 1: false} {
		if err := r.owner.CheckLimits(Limits{MaxSessions: most}); (err == nil) != want {
			t.Errorf("%d: %v", most, err)
		}
	}
	h := ledger.Header{Shards: 1, PerShard: r.owner.LedgerPlaces()}
	file := make([]byte, h.Size())
	if err := r.owner.UseLedger(&h, file, func(int64, int64) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for most, want := range map[int]bool{1: true, r.owner.LedgerPlaces(): true, r.owner.LedgerPlaces() + 1: false} {
		if err := r.owner.CheckLimits(Limits{MaxSessions: most}); (err == nil) != want {
			t.Errorf("with a ledger, %d: %v", most, err)
		}
	}
}

// Limits change while the shards run, and while they stop.
func TestLimitsRace(t *testing.T) {
	defer goleak.VerifyNone(t)
	g := startGroup(t)
	l := g.cfg.Limits()
	var all sync.WaitGroup
	for k := range 3 {
		all.Go(func() {
			for n := range 100 {
				l := l
				l.MaxSessions, l.MaxHalfOpen = 100+n, 50+k
				if err := g.SetLimits(t.Context(), l); err != nil {
					t.Error(err)
				}
				_ = g.CheckLimits(l)
				_ = g.Stats()
			}
		})
	}
	all.Wait()
	g.Stop()
	if err := g.SetLimits(context.Background(), l); err == nil {
		t.Error("limits of shards that have ended")
	}
	if math.MaxInt/2+g.shards[0].inbox.limit < 0 {
		t.Error("postAlways overflows")
	}
}
