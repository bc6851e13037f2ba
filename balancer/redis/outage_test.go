package redis

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/balancer"
)

func (r *relay) away() {
	r.Helper()
	until(r.T, "the outage to be seen", func() bool { ok, _, _ := r.State(); return !ok })
}

// Redis dies under load: streams stay where they are, new ones go where both
// relays put them, and all is written when it comes back, empty.
func TestOutage(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := openWith(t, 9, at(s.addr), random).ready(), openWith(t, 9, at(s.addr), random).ready()
	known := a.crowd(0, 100)
	if shared := b.crowd(0, 100); !equal(known, shared) {
		t.Fatal("no agreement before the outage")
	}
	var load sync.WaitGroup
	stop := make(chan struct{})
	for _, r := range []*relay{a, b} {
		load.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				got := r.stream(key(i % 100))
				if got.ID != known[i%100] {
					t.Errorf("%s has moved from %s to %s", key(i%100), known[i%100], got.ID)
				}
				r.Release(got.Lease)
			}
		})
	}
	s.kill()
	a.away()
	b.away()
	_, since, detail := a.State()
	if time.Since(since) > time.Minute || !strings.HasPrefix(detail, "redis: ") || !a.Reached() {
		t.Errorf("since %v, %q", since, detail)
	}
	fresh := func(i int) int { return i + 1000 }
	ofA, ofB := a.ofNew(50, fresh), b.ofNew(50, fresh)
	if !equal(ofA, ofB) {
		t.Error("alone, the relays disagree")
	}
	s.start()
	a.ready()
	b.ready()
	close(stop)
	load.Wait()
	until(t, "all to be written back", func() bool {
		return s.DBSize(t.Context()).Val() >= 100+50+9+1
	})
	for i, id := range ofA {
		if got := s.Get(t.Context(), urlPrefix+key(fresh(i))).Val(); got != serverKey(staticPrefix+id) {
			t.Errorf("%s is at %s, Redis has %q", key(fresh(i)), id, got)
		}
	}
	if n, m := a.log.count("shared state away"), a.log.count("shared state in use"); n != 1 || m != 2 {
		t.Errorf("one outage and two starts are told %d and %d times", n, m)
	}
}

func equal(a, b []backend.ID) bool {
	for i := range a {
		if a[i] != b[i] || a[i] == "" {
			return false
		}
	}
	return len(a) == len(b)
}

func (r *relay) ofNew(n int, number func(int) int) (got []backend.ID) {
	r.Helper()
	for i := range n {
		got = append(got, r.stream(key(number(i))).ID)
	}
	return got
}

// While one relay is cut off a stream gets a publisher at another: its binding is the one of
// Redis, and later callers of the first follow it.
func TestConflictAfterAnOutage(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	wire := newLink(t, s.addr)
	a, b := openWith(t, 5, at(wire.addr())).ready(), openWith(t, 5, at(s.addr)).ready()
	wire.set(true)
	a.away()
	own := a.stream("k")
	a.Report(backend.Outcome{Lease: own.Lease, Fate: backend.FateBegan})
	// The other relay must not choose the same by chance.
	b.reg.SetDraining(own.ID, true)
	theirs := b.stream("k")
	b.Report(backend.Outcome{Lease: theirs.Lease, Fate: backend.FateBegan})
	until(t, "their publisher to have proven its backend", func() bool { return b.renewed(s, "k") })
	wire.set(false)
	a.ready()
	until(t, "later callers to follow", func() bool { return a.stream("k").ID == theirs.ID })
	if got := b.stream("k"); got.ID != theirs.ID || own.ID == theirs.ID {
		t.Errorf("the stream was %s, and is %s", theirs.ID, got.ID)
	}
	if !a.memory.HasSessions(balancer.AffinityKey{Stream: "k"}, own.ID) {
		t.Error("the running session was moved")
	}
}

// A Redis that does not answer holds up the picks under way for as long as a pick may take, and
// no others: 2,000 end before one answer arrives, and of each goroutine only the first has asked.
func TestSlowRedis(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	wire := newLink(t, s.addr)
	w := patience
	w.pick, w.sync = 2*time.Second, time.Hour // only the limit of picks ends them
	r := openWaiting(t, w, 30*time.Second, 5, at(wire.addr())).ready()
	r.stream(key(1))
	release := wire.stallAfter(t, 0)
	asked := calls(t, s, "evalsha", "calls")
	r.crowd(0, 2000)
	if n := calls(t, s, "evalsha", "calls") - asked; n > resolvers+1 { // and a round that was under way
		t.Errorf("Redis was asked %d times by %d goroutines", n, resolvers)
	}
	if ok, _, detail := r.State(); ok || detail == "" {
		t.Error("slowness does not show")
	}
	release()
	r.ready()
	until(t, "a stream of the meantime to be written", func() bool {
		return s.Exists(t.Context(), urlPrefix+key(1999)).Val() == 1
	})
}

// The bug: without Redis a player was looked up as if it published, so that the
// backend that it had just failed at got it again.
func TestAlonePlayersDoNotGoWhereTheyFailed(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	s.kill()
	r := openWith(t, 5, at(s.addr), playersFollow)
	r.away()
	player := backend.Query{Key: "k", StreamID: "k"}
	first := r.ask(player)
	r.Report(backend.Outcome{Lease: first.Lease, Fate: backend.FateRefused})
	if again := r.ask(player); again.ID == first.ID {
		t.Errorf("the player is sent to %s, which has just refused it", again.ID)
	}
}

// The relay starts without Redis, is not ready, works, and finds it later.
func TestRedisComesLater(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	s.kill()
	r := openWith(t, 5, at(s.addr))
	until(t, "the first failure", func() bool { return r.log.count("shared state away") == 1 })
	if ok, _, detail := r.State(); ok || r.Reached() || !strings.HasPrefix(detail, "redis: ") {
		t.Errorf("%v, %q", ok, detail)
	}
	got := r.stream("k")
	if want, _, _ := r.Explain(backend.Query{Key: "k"}); want.ID != got.ID {
		t.Errorf("picked %s, explained %s", got.ID, want.ID)
	}
	s.start()
	r.ready()
	until(t, "the stream to be written", func() bool {
		return s.Get(t.Context(), "srs-proxy-url:k").Val() == serverKey(staticPrefix+got.ID)
	})
	if _, _, detail := r.State(); detail != "" {
		t.Errorf("in use, but %q", detail)
	}
}

// A Redis that takes no writes is of no use, although it answers PING.
func TestRedisThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := openWith(t, 5, at(s.addr)).ready()
	must(t, s.ConfigSet(t.Context(), "maxmemory", "1").Err())
	r.Release(r.stream("k").Lease) // with nothing to renew, only a try shows it
	r.away()
	if _, _, detail := r.State(); !strings.Contains(detail, "OOM") {
		t.Errorf("%q", detail)
	}
	until(t, "some tries", func() bool {
		return calls(t, s, "set", "rejected_calls") > 3
	})
	if n := r.log.count("shared state in use"); n != 1 {
		t.Errorf("taken for good again %d times", n-1)
	}
	must(t, s.ConfigSet(t.Context(), "maxmemory", "0").Err())
	r.ready()
}

// bindings returns the keys of all bindings, of streams and of groups.
func (s *server) bindings(t *testing.T) []string {
	t.Helper()
	return append(s.Keys(t.Context(), urlPrefix+"*").Val(), s.Keys(t.Context(), groupPrefix+"*").Val()...)
}

func TestExplain(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	wire := newLink(t, s.addr)
	a, b := openWith(t, 9, at(s.addr), random).ready(), openWith(t, 9, at(wire.addr())).ready()
	at, mate := a.stream("k"), a.ask(backend.Query{Key: "m", Group: 7, Publish: true})
	explain := func(q backend.Query, want backend.ID, why string) {
		t.Helper()
		before := s.bindings(t)
		got, text, err := b.Explain(q)
		if err != nil || got.Lease != 0 || want != "" && got.ID != want || !strings.Contains(text, why) {
			t.Errorf("%+v: %+v, %q, %v", q, got, text, err)
		}
		for _, key := range s.bindings(t) {
			if !slices.Contains(before, key) {
				t.Errorf("%+v: a dry run has left %s", q, key)
			}
		}
		if n := len(b.memory.Bindings()); n != 0 {
			t.Errorf("%+v: a dry run has left %d bindings in memory", q, n)
		}
	}
	explain(backend.Query{Key: "k"}, at.ID, "the stream is there, says the shared state")
	explain(backend.Query{Key: "k", Group: 7}, mate.ID, "its bonding group is there, says the shared state")
	explain(backend.Query{Key: "new"}, "", "fewest sessions")
	wire.set(true)
	b.away()
	explain(backend.Query{Key: "new"}, "", "hash of stream and backend; the shared state is away")
}
