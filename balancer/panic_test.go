package balancer

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/internal/supervise"
)

// faulty panics for every query of one stream, and for the release of one
// lease.
type faulty struct{ *slow }

func (f faulty) Pick(ctx context.Context, q backend.Query) (backend.Target, error) {
	if q.Key == "panic" {
		panic("boom")
	}
	return f.slow.Pick(ctx, q)
}

func (f faulty) Report(o backend.Outcome) {
	if o.Lease == 99 {
		panic("boom")
	}
	f.slow.Report(o)
}

func supervisor() *supervise.Supervisor { return supervise.New(slog.New(slog.DiscardHandler)) }

func panics(s *supervise.Supervisor, task string) uint64 {
	for _, c := range s.Counts() {
		if c.Task == task {
			return c.Panics
		}
	}
	return 0
}

// If the balancer panics, only the caller of that pick gets an error, also if it panics more
// often than there are workers.
func TestPanicOfAPick(t *testing.T) {
	b, s := faulty{newSlow(nil)}, supervisor()
	r := NewResolver(b, func(backend.ID, bool) { panic("lost") }, nil, s)
	defer r.Close()
	answers := make(chan answer, 1)
	for range 2 * resolverWorkers {
		r.Resolve(backend.Query{Key: "panic"}, into(answers, true))
		if got := within(t, "answer", answers); got.err == nil || !strings.Contains(got.err.Error(), "boom") || got.t != (backend.Target{}) {
			t.Fatalf("%+v", got)
		}
	}
	r.Resolve(backend.Query{Key: "k"}, into(answers, true))
	if got := within(t, "answer", answers); got.err != nil || got.t.Lease == 0 {
		t.Fatalf("%+v", got)
	}
	if n := panics(s, pickTask); n != 2*resolverWorkers {
		t.Errorf("%d panics counted", n)
	}
	// One lease that cannot be released, and a report that panics, keep no
	// other lease.
	r.Report(backend.Outcome{Lease: 99})
	r.Unreachable("b", true)
	r.Report(backend.Outcome{Lease: 1})
	within(t, "release", b.rang)
	if got := b.held(); len(got) != 1 || got[0] != 1 {
		t.Errorf("released %v", got)
	}
}

// After a panic during a pick no lock is held and no session is counted.
func TestPanicUnderTheLock(t *testing.T) {
	reg := backend.NewRegistry()
	reg.Put(backend.Backend{ID: "a", Addr: netip.MustParseAddrPort("10.0.0.1:1"), Weight: 1})
	reg.Put(backend.Backend{ID: "b", Addr: netip.MustParseAddrPort("10.0.0.2:1"), Weight: 1})
	m := NewMemory(reg, time.Now)
	broken := true
	m.Bitrate = func(backend.ID) float64 {
		if broken {
			panic("boom")
		}
		return 0
	}
	r := NewResolver(m, func(backend.ID, bool) {}, nil, supervisor())
	defer r.Close()
	answers := make(chan answer, 1)
	r.Resolve(backend.Query{Key: "k", Publish: true}, into(answers, true))
	if got := within(t, "answer", answers); got.err == nil {
		t.Fatalf("%+v: the policy never asked for the bitrate", got)
	}
	if l := m.Loads(); len(l) > 0 {
		t.Errorf("loads %v", l)
	}
	broken = false
	r.Resolve(backend.Query{Key: "k", Publish: true}, into(answers, true))
	if got := within(t, "answer", answers); got.err != nil {
		t.Fatal(got.err)
	}
	if l := m.Loads(); len(l) != 1 {
		t.Errorf("loads %v", l)
	}
}
