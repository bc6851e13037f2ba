package shard

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"srtrelay/backend"
	"srtrelay/internal/srttest"
)

// What arrives while the loops are parked waits in the sockets.
func TestFreezeLosesNothing(t *testing.T) {
	w := newWorld(t)
	w.connect(8)
	w.traffic()
	for range 20 {
		if parts := w.freeze(); len(parts) != w.cfg.Shards {
			t.Fatalf("%d parts", len(parts))
		}
		time.Sleep(20 * time.Millisecond) // the time to be bridged
		w.Resume()
	}
	if n := w.settle(); n < 1000 {
		t.Errorf("only %d packets passed", n)
	}
}

// A freeze that is longer than a timeout ends nothing: what came meanwhile is read before a
// timer fires.
func TestResumeReadsBeforeTimersFire(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.IdleTimeout, c.BackendSilence = time.Second, 600*time.Millisecond })
	w.connect(4)
	w.traffic()
	w.freeze()
	time.Sleep(1500 * time.Millisecond) // longer than both
	w.Resume()
	w.settle()
	if n := w.sum(CountTombstones); n != 0 {
		t.Errorf("%d sessions have ended: %v", n, w.nonzero())
	}
}

// Who asks a frozen shard waits as long as the context allows, and gets the answer after
// Resume.
func TestAskingWhileFrozen(t *testing.T) {
	w := newWorld(t)
	w.connect(1)
	w.freeze()
	if _, _, err := w.Freeze(t.Context()); !errors.Is(err, errFrozen) {
		t.Errorf("frozen twice: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := w.Kick(short, SessionID{Gen: 1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("kick: %v", err)
	}
	answered := make(chan error)
	go func() {
		_, _, _, err := w.Walk(t.Context(), Cursor{}, make([]View, 8), Filter{})
		answered <- err
	}()
	w.Resume()
	if err := <-answered; err != nil {
		t.Errorf("walk: %v", err)
	}
	if n := w.sum(CountTombstones); n != 0 {
		t.Error("the session was ended by a request that had been given up")
	}
}

// A shard that does not answer in time, or has ended, is named, and the others go on.
func TestFreezeFails(t *testing.T) {
	t.Run("in time", func(t *testing.T) {
		w := newWorld(t)
		w.connect(4)
		w.traffic()
		blocked, release := make(chan struct{}), make(chan struct{})
		w.shards[1].inbox.postAlways(func(*Shard) { close(blocked); <-release })
		<-blocked
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, took, err := w.Freeze(short)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "shard 1") || took <= 0 {
			t.Errorf("%v after %v", err, took)
		}
		close(release)
		w.freeze() // the late one has not parked for the first
		w.Resume()
		w.settle()
	})
	t.Run("background", func(t *testing.T) {
		w := newWorld(t)
		began, release := make(chan struct{}), make(chan struct{})
		w.background(func() { close(began); <-release })
		<-began
		short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, _, err := w.Freeze(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while a function runs in the background: %v", err)
		}
		close(release)
		w.freeze()
		waits := make(chan struct{})
		w.background(func() { close(waits) })
		select {
		case <-waits:
			t.Error("a function ran in the background of frozen shards")
		case <-time.After(20 * time.Millisecond):
		}
		w.Resume()
		<-waits
	})
	t.Run("panicked", func(t *testing.T) {
		w := newWorld(t)
		w.shards[0].inbox.postAlways(func(*Shard) { panic("boom") })
		<-w.Broken()
		if _, _, err := w.Freeze(t.Context()); !errors.Is(err, ErrStopped) || !strings.Contains(err.Error(), "shard 0") {
			t.Errorf("%v", err)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		w := newWorld(t)
		w.Stop()
		if _, _, err := w.Freeze(t.Context()); !errors.Is(err, ErrStopped) {
			t.Errorf("%v", err)
		}
		if _, err := w.Sockets(t.Context()); !errors.Is(err, ErrStopped) {
			t.Errorf("sockets: %v", err)
		}
	})
}

// A relay that is told to stop while its shards are frozen tells its callers.
func TestStopWhileFrozen(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l := startLoops(t, 2)
	if _, _, err := l.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Stop()
	awaitShutdown(t, l.callers[0], callerID)
	awaitShutdown(t, l.callers[1], callerID+1)
}

// A group that is abandoned says nothing to anybody.
func TestAbandonTellsNobody(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var f ledgerFile
	r := newRig(t, func(c *Config) { c.Shards = 2 })
	f.use(t, r.owner)
	l := &loops{Group: r.owner, rig: r}
	l.establishOn(0)
	l.establishOn(1)
	reported := len(r.balancer.outcomes)
	l.Start()
	if _, _, err := l.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked := make(chan error)
	go func() {
		_, err := l.Kick(context.Background(), SessionID{Gen: 1})
		asked <- err
	}()
	l.Abandon()
	if err := <-asked; !errors.Is(err, ErrStopped) {
		t.Errorf("asked meanwhile: %v", err)
	}
	if n := l.shards[0].counters.Read(0).Values[CountShutdownsMade]; n != 0 || len(r.balancer.outcomes) != reported {
		t.Errorf("%d SHUTDOWNs, outcomes %v", n, r.balancer.outcomes[reported:])
	}
	if ids := f.ids(t); len(ids) != 2 {
		t.Errorf("ledger: %x, want both callers", ids)
	}
	l.Abandon() // again: the sockets are closed
}

// After the sockets have been listed no other is opened: the handshake that needs one waits.
func TestNoUpstreamAfterSocketsAreListed(t *testing.T) {
	w := newWorld(t)
	six, err := srttest.NewListener(srttest.ListenerConfig{Local: netip.MustParseAddrPort("[::1]:0")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = six.Close() })
	w.balancer.mu.Lock()
	w.balancer.target = backend.Target{ID: "b6", Addr: six.Addr(), Lease: 8}
	w.balancer.mu.Unlock()
	listed := func() int {
		all := w.passOn()
		CloseSockets(all)
		return len(all)
	}
	before := listed()
	dialled := make(chan error)
	port, at := w.port(), w.Addrs()[0]
	go func() {
		_, err := port.Dial(t.Context(), at, srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"})
		dialled <- err
	}()
	held := func() bool {
		n := 0
		for _, s := range w.shards {
			_ = s.inbox.do(t.Context(), func(s *Shard) { n += len(s.held) })
		}
		return n == 1
	}
	for !held() {
		time.Sleep(time.Millisecond)
	}
	if again := listed(); again != before {
		t.Errorf("%d sockets, want %d", again, before)
	}
	w.freeze()
	w.Resume()
	if err := <-dialled; err != nil {
		t.Error(err)
	}
	if after := listed(); after != before+1 {
		t.Errorf("%d sockets, want one more than %d", after, before)
	}
	w.Resume() // also without a freeze
	for _, s := range w.shards {
		_ = s.inbox.do(t.Context(), func(s *Shard) {
			if s.upstreamsHeld {
				t.Error("upstream sockets are still held")
			}
		})
	}
}

// What is posted to a shard before the last one has parked is part of its state.
func TestParkedShardsRunWhatOthersPost(t *testing.T) {
	w := newWorld(t)
	blocked, release := make(chan struct{}), make(chan struct{})
	w.shards[1].inbox.postAlways(func(*Shard) { close(blocked); <-release })
	<-blocked
	frozen := make(chan error)
	go func() {
		_, _, err := w.Freeze(t.Context())
		frozen <- err
	}()
	for answers := true; answers; { // until it is parked
		short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		answers = w.shards[0].inbox.do(short, func(*Shard) {}) == nil
		cancel()
	}
	var ran atomic.Bool
	w.shards[0].inbox.postAlways(func(*Shard) { ran.Store(true) })
	close(release)
	if err := <-frozen; err != nil {
		t.Fatal(err)
	}
	if !ran.Load() {
		t.Error("the task has not run")
	}
}
