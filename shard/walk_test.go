package shard

import (
	"context"
	"errors"
	"testing"
	"time"

	"srtrelay/handshake"
	"srtrelay/observe/telemetry"
	"srtrelay/wire"
)

var errTest = errors.New("the test says so")

// beside runs call while the shard makes turns, as its loop would.
func (r *rig) beside(call func()) {
	r.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		call()
	}()
	for {
		select {
		case <-done:
			r.settle()
			return
		default:
			r.turn()
		}
	}
}

func (r *rig) group() *Group { return &Group{shards: []*Shard{r.Shard}} }

// fill makes established sessions out of nothing.
func (r *rig) fill(n int) {
	for range n {
		i, ss := r.sessions.alloc()
		ss.state = StateEstablished
		r.restoreAccount(i, ss)
	}
}

// walkAll walks in slices of a size and returns the indices and the number of
// tasks it took.
func (r *rig) walkAll(size int, w Filter) (indices []uint32, tasks int) {
	r.t.Helper()
	views := make([]View, size)
	for at, done := (Cursor{}), false; !done; tasks++ {
		var n int
		var err error
		r.beside(func() { n, at, done, err = r.group().Walk(r.t.Context(), at, views, w) })
		if err != nil {
			r.t.Fatal(err)
		}
		for _, v := range views[:n] {
			indices = append(indices, v.ID.Index)
		}
	}
	return indices, tasks
}

// A walk meets every session once, in bounded pieces.
func TestWalk(t *testing.T) {
	for _, sessions := range []int{0, 1, 100, chunkSize, chunkSize + 1, 3*chunkSize + 5} {
		for _, size := range []int{1, 7, maxViews, 10 * maxViews} {
			if size == 1 && sessions > 200 {
				continue
			}
			r := newRig(t)
			r.fill(sessions)
			got, tasks := r.walkAll(size, Filter{})
			seen := map[uint32]bool{}
			for _, i := range got {
				seen[i] = true
			}
			if len(got) != sessions || len(seen) != sessions {
				t.Errorf("%d sessions by %d: met %d, %d of them different", sessions, size, len(got), len(seen))
			}
			if least := (sessions + maxViews - 1) / maxViews; tasks < least {
				t.Errorf("%d sessions by %d in %d tasks, at least %d", sessions, size, tasks, least)
			}
			got, tasks = r.walkAll(size, Filter{State: "rejected"})
			if least := sessions / maxVisits; len(got) != 0 || tasks < least || tasks > least+2 {
				t.Errorf("found %d of none in %d tasks, want %d to %d", len(got), tasks, least, least+2)
			}
		}
	}
}

// Samples meets every session with media once, a bounded number per turn.
func TestSamplesInTurns(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Telemetry = false }) // any datagram counts
	r.fill(3*chunkSize + 5)
	r.sessions.each(func(i uint32, ss *session) {
		if i%3 != 0 {
			ss.callerSeen = time.Hour
		}
	})
	since := r.wallTime(time.Hour)
	for _, size := range []int{maxViews / 2, maxViews + 1, 10 * maxSamples} {
		seen, calls := map[uint32]bool{}, 0
		samples := make([]Sample, size)
		for at, done := (Cursor{}), false; !done && calls < 1000; calls++ {
			var n int
			var err error
			before := r.count(CountTurns)
			r.beside(func() { n, at, done, err = r.group().Samples(t.Context(), at, samples, since) })
			if turns := int(r.count(CountTurns) - before); err != nil || n > maxSamples || n > turns*maxViews {
				t.Fatalf("%d samples in %d turns, %v", n, turns, err)
			}
			for _, one := range samples[:n] {
				if seen[one.ID.Index] || one.ID.Index%3 == 0 {
					t.Fatalf("met %d", one.ID.Index)
				}
				seen[one.ID.Index] = true
			}
		}
		if want := r.sessions.live * 2 / 3; len(seen) != want {
			t.Errorf("by %d: met %d of %d sessions", size, len(seen), want)
		}
	}
}

// Nobody waits for the rest of the samples of a shard that ends, or when the asking ends.
func TestSamplesInVain(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Telemetry = false })
	r.fill(3 * maxViews)
	r.sessions.each(func(_ uint32, ss *session) { ss.callerSeen = time.Hour })
	ask := func(ctx context.Context) (asked chan error) {
		asked, posted := make(chan error), make(chan struct{}, 10)
		r.inbox.wake = func() { posted <- struct{}{} }
		go func() {
			_, _, _, err := r.group().Samples(ctx, Cursor{}, make([]Sample, maxSamples), r.wallTime(time.Hour))
			asked <- err
		}()
		<-posted
		r.turn() // the first slice
		<-posted // the next one is to come
		return asked
	}
	ctx, cancel := context.WithCancel(t.Context())
	asked := ask(ctx)
	cancel()
	if err := <-asked; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that the asking has ended", err)
	}
	before := r.count(CountTurns)
	r.turn()
	if r.inbox.hasTasks.Load() || r.count(CountTurns) == before {
		t.Error("a slice follows that nobody waits for")
	}
	asked = ask(t.Context())
	r.inbox.abandon()
	if err := <-asked; !errors.Is(err, ErrStopped) {
		t.Errorf("%v, want that the shard has ended", err)
	}
}

func TestWalkFromNowhere(t *testing.T) {
	r := newRig(t)
	r.fill(3)
	for _, from := range []Cursor{{Shard: 1}, {Shard: -1}, {Shard: 0, Index: 1 << 31}, {Shard: 0, Index: 1<<32 - 1}} {
		var n int
		var done bool
		r.beside(func() { n, _, done, _ = r.group().Walk(t.Context(), from, make([]View, 10), Filter{}) })
		if n != 0 || !done {
			t.Errorf("from %v: %d sessions, done %v", from, n, done)
		}
	}
}

func TestSessionByID(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	id := r.only().ID
	for name, c := range map[string]struct {
		id    SessionID
		found bool
	}{
		"it":                 {id, true},
		"its successor":      {SessionID{id.Shard, id.Index, id.Gen + 1}, false},
		"a free place":       {SessionID{id.Shard, id.Index + 1, id.Gen}, false},
		"no place":           {SessionID{id.Shard, 1 << 31, id.Gen}, false},
		"another shard":      {SessionID{1, id.Index, id.Gen}, false},
		"none":               {SessionID{}, false},
		"a shard before all": {SessionID{-1, id.Index, id.Gen}, false},
	} {
		var v View
		var found bool
		var err error
		r.beside(func() { v, found, err = r.group().Session(t.Context(), c.id) })
		if err != nil || found != c.found || found && v.ID != id {
			t.Errorf("%s: %v, %v, %v", name, v.ID, found, err)
		}
	}
}

func (r *rig) kick(id SessionID) bool {
	r.t.Helper()
	var ok bool
	var err error
	r.beside(func() { ok, err = r.group().Kick(r.t.Context(), id) })
	if err != nil {
		r.t.Fatal(err)
	}
	return ok
}

// Both sides of a kicked session are told, also when the first SHUTDOWN is
// lost.
func TestKick(t *testing.T) {
	r := newRig(t)
	r.establish(r.caller, callerID, callerISN, backendID)
	id := r.only().ID
	if !r.kick(id) {
		t.Fatal("there was nothing to kick")
	}
	r.expectShutdown(r.caller, callerID)
	r.expectShutdown(r.backend, backendID)
	if e := r.lastEvent(EventSessionEnded); e.Cause != CauseKicked || e.Cause.String() != "kicked" || e.Session != id {
		t.Errorf("%+v", e)
	}
	if v := r.only(); v.Cause != CauseKicked || v.State != "closing" {
		t.Errorf("%+v", v)
	}
	if r.kick(id) {
		t.Error("a closing session was kicked again")
	}
	r.pass(shutdownInterval)
	r.send(r.caller, packet(backendID, 100))
	r.expectShutdown(r.caller, callerID)
	r.pass(tombstoneTTL + time.Second)
	r.wantEmpty()
	if r.kick(id) {
		t.Error("a session that is forgotten was kicked")
	}
}

// A caller whose handshake is under way is rejected.
func TestKickPending(t *testing.T) {
	for _, connecting := range []bool{false, true} {
		r := newRig(t)
		r.balancer.hold = true
		r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 500))
		if connecting {
			r.balancer.held[0]()
			r.settle()
		}
		if !r.kick(r.only().ID) {
			t.Fatal("there was nothing to kick")
		}
		h, _ := r.expect(r.caller, wire.HandshakeType(handshake.CodeForbidden))
		if h.Packet().DestID() != callerID {
			t.Errorf("rejection for %x", h.Packet().DestID())
		}
		if !connecting {
			r.balancer.held[0]() // the answer comes too late
			r.settle()
		}
		if len(r.balancer.released) != 1 {
			t.Errorf("released %v", r.balancer.released)
		}
		r.pass(handshake.RejectionTTL + time.Second)
		r.wantEmpty()
	}
}

// Nobody waits for a shard that has ended, is stuck, or has too much to do.
func TestAskingInVain(t *testing.T) {
	ask := func(r *rig, ctx context.Context) error {
		_, _, _, err := r.group().Walk(ctx, Cursor{}, make([]View, 1), Filter{})
		return err
	}
	t.Run("gives up, and the task is unwanted", func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(t.Context())
		posted := make(chan struct{})
		r.inbox.wake = func() { close(posted) }
		go func() {
			<-posted
			cancel()
		}()
		views := make([]View, 1)
		r.fill(1)
		if _, _, _, err := r.group().Walk(ctx, Cursor{}, views, Filter{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		r.settle()
		if views[0].State != "" {
			t.Errorf("a slice that nobody lends any more was written: %+v", views[0])
		}
	})
	t.Run("full inbox", func(t *testing.T) {
		r := newRig(t)
		r.inbox.limit = 0
		if err := ask(r, t.Context()); !errors.Is(err, ErrBusy) {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := ask(r, ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
	t.Run("ended", func(t *testing.T) {
		r := newRig(t)
		r.inbox.close()
		if err := ask(r, t.Context()); !errors.Is(err, ErrStopped) {
			t.Errorf("%v", err)
		}
	})
	t.Run("ends with the task in the box", func(t *testing.T) {
		r := newRig(t)
		posted := make(chan struct{})
		r.inbox.wake = func() { close(posted) }
		done := make(chan error)
		go func() { done <- ask(r, t.Context()) }()
		<-posted
		for _, l := range r.inbox.close() {
			l(r.Shard)
		}
		if err := <-done; err != nil {
			t.Errorf("%v", err)
		}
	})
}

// What a task of a walk takes of a loop.
func BenchmarkWalk(b *testing.B) {
	r := newRig(b, func(c *Config) { c.MaxSessions = 100_000 })
	r.fill(100_000)
	r.sessions.each(func(_ uint32, ss *session) {
		r.meters.InOrder(&ss.meter, telemetry.ToBackend, 1, 1316, time.Second)
	})
	views, samples := make([]View, maxViews), make([]Sample, maxViews)
	for name, one := range map[string]func(at uint32) (n int, next uint32, end bool){
		"views":   func(at uint32) (int, uint32, bool) { return r.walk(at, views, &Filter{}) },
		"samples": func(at uint32) (int, uint32, bool) { return r.sampleSome(at, samples, 0) },
		"visits":  func(at uint32) (int, uint32, bool) { return r.sampleSome(at, samples, time.Hour) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			at := uint32(0)
			for b.Loop() {
				_, next, end := one(at)
				if at = next; end {
					at = 0
				}
			}
		})
	}
	r.sessions = sessions{table: newTable(), seed: r.sessions.seed}
}
