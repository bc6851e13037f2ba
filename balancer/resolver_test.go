package balancer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"srtrelay/backend"
)

// slow is a balancer that answers when it is let.
type slow struct {
	let      chan struct{} // closed or sent to; nil answers at once
	asked    atomic.Int64
	fail     error
	mu       sync.Mutex
	released []backend.Lease
	rang     chan struct{} // one per release
}

func newSlow(let chan struct{}) *slow {
	return &slow{let: let, rang: make(chan struct{}, 3*reportQueue)}
}

func (s *slow) Pick(ctx context.Context, _ backend.Query) (backend.Target, error) {
	n := s.asked.Add(1)
	if s.let != nil {
		select {
		case <-s.let:
		case <-ctx.Done():
			return backend.Target{}, ctx.Err()
		}
	}
	if s.fail != nil {
		return backend.Target{}, s.fail
	}
	return backend.Target{ID: "b", Lease: backend.Lease(n)}, nil
}

func (s *slow) Report(o backend.Outcome) {
	s.mu.Lock()
	s.released = append(s.released, o.Lease)
	s.mu.Unlock()
	s.rang <- struct{}{}
}

// held returns the leases that were released so far.
func (s *slow) held() []backend.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]backend.Lease(nil), s.released...)
}

// within receives, or fails the test when nothing comes.
func within[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: nothing happens", what)
	}
	return v
}

type answer struct {
	t   backend.Target
	err error
}

// into returns a done function that keeps what it is given.
func into(c chan answer, keep bool) func(backend.Target, error) bool {
	return func(t backend.Target, err error) bool {
		c <- answer{t, err}
		return keep
	}
}

func TestResolve(t *testing.T) {
	b := newSlow(nil)
	r := NewResolver(b, func(backend.ID, bool) {}, nil, nil)
	answers := make(chan answer, 1)
	if !r.Resolve(backend.Query{Key: "k"}, into(answers, true)) {
		t.Fatal("refused by an idle resolver")
	}
	if got := within(t, "answer", answers); got.err != nil || got.t.ID != "b" || got.t.Lease != 1 {
		t.Errorf("%+v", got)
	}
	if !r.Report(backend.Outcome{Lease: 1}) {
		t.Fatal("release refused by an idle resolver")
	}
	within(t, "release", b.rang)
	r.Close()
	if got := b.held(); len(got) != 1 || got[0] != 1 {
		t.Errorf("released %v, want the one lease, given back by its owner", got)
	}
}

// If the answer is refused, the lease is released.
func TestRefusedAnswerReleasesItsLease(t *testing.T) {
	b := newSlow(nil)
	r := NewResolver(b, func(backend.ID, bool) {}, nil, nil)
	defer r.Close()
	answers := make(chan answer, 1)
	r.Resolve(backend.Query{}, into(answers, false))
	got := within(t, "answer", answers)
	within(t, "release", b.rang)
	if held := b.held(); len(held) != 1 || held[0] != got.t.Lease {
		t.Errorf("released %v, want %v", held, got.t.Lease)
	}
}

func TestErrorHasNoLease(t *testing.T) {
	b := newSlow(nil)
	b.fail = backend.ErrNone
	r := NewResolver(b, func(backend.ID, bool) {}, nil, nil)
	answers := make(chan answer, 1)
	r.Resolve(backend.Query{}, into(answers, false))
	if got := within(t, "answer", answers); !errors.Is(got.err, backend.ErrNone) {
		t.Errorf("%+v", got)
	}
	r.Close()
	if held := b.held(); len(held) != 0 {
		t.Errorf("released %v after an error", held)
	}
}

// fill asks until the resolver refuses.
func fill(t *testing.T, r *Resolver, done func(backend.Target, error) bool) (accepted int) {
	t.Helper()
	for r.Resolve(backend.Query{}, done) {
		if accepted++; accepted > 2*(queryQueue+resolverWorkers) {
			t.Fatal("Resolve is not bounded")
		}
	}
	return accepted
}

func TestBounded(t *testing.T) {
	let := make(chan struct{})
	b := newSlow(let)
	lost := make(chan backend.ID)
	r := NewResolver(b, func(id backend.ID, _ bool) { lost <- id }, nil, nil)
	answers := make(chan answer, 2*(queryQueue+resolverWorkers))
	accepted := fill(t, r, into(answers, true))
	if accepted < queryQueue {
		t.Errorf("refused after %d queries", accepted)
	}
	// Every worker waits for the balancer, and a report waits for its reader:
	// neither may keep a shard.
	for range 3 * lossQueue {
		r.Unreachable("b", true)
	}
	if got := within(t, "report", lost); got != "b" {
		t.Errorf("lost %q", got)
	}
	releases := 0
	for r.Report(backend.Outcome{Lease: backend.Lease(1_000_000 + releases)}) {
		if releases++; releases > 2*reportQueue {
			go func() { // lets the test end
				for range lost {
				}
			}()
			t.Fatal("Release is not bounded")
		}
	}
	close(let)
	for range accepted {
		within(t, "answer", answers)
	}
	if !r.Resolve(backend.Query{}, into(answers, true)) {
		t.Error("still refused when all is answered")
	}
	within(t, "answer", answers)
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-lost:
			case <-stop:
				return
			}
		}
	})
	r.Close()
	close(stop)
	reader.Wait()
	if got := len(b.held()); got != releases {
		t.Errorf("%d leases released, %d were handed over", got, releases)
	}
}

// A balancer that waits must not keep leases from going back.
func TestSlowPickDoesNotBlockReleases(t *testing.T) {
	let := make(chan struct{})
	b := newSlow(let)
	lost := make(chan backend.ID, 1)
	r := NewResolver(b, func(id backend.ID, _ bool) { lost <- id }, nil, nil)
	fill(t, r, func(backend.Target, error) bool { return true })
	if !r.Report(backend.Outcome{Lease: 7}) {
		t.Fatal("refused")
	}
	within(t, "release", b.rang)
	r.Unreachable("gone", true)
	if got := within(t, "report", lost); got != "gone" {
		t.Errorf("lost %q", got)
	}
	r.Close() // although nobody lets the workers go: the context does
	if b.asked.Load() > resolverWorkers {
		t.Errorf("%d picks: Close asked for queued queries", b.asked.Load())
	}
}

// A pick that takes too long ends by its context, in time to reject the caller.
func TestPickHasADeadline(t *testing.T) {
	deadlines := make(chan time.Duration, 1)
	r := NewResolver(probe(func(ctx context.Context) {
		end, _ := ctx.Deadline()
		deadlines <- time.Until(end)
	}), func(backend.ID, bool) {}, nil, nil)
	defer r.Close()
	r.Resolve(backend.Query{}, func(backend.Target, error) bool { return true })
	if got := within(t, "pick", deadlines); got <= 0 || got > pickTimeout {
		t.Errorf("%v left for a pick", got)
	}
}

type probe func(context.Context)

func (p probe) Pick(ctx context.Context, _ backend.Query) (backend.Target, error) {
	p(ctx)
	return backend.Target{}, nil
}

func (probe) Report(backend.Outcome) {}

func TestCloseReleasesQueuedLeases(t *testing.T) {
	b := newSlow(nil)
	busy, lost := make(chan struct{}), make(chan struct{})
	r := NewResolver(b, func(backend.ID, bool) { close(busy); <-lost }, nil, nil)
	r.Unreachable("b", true)
	within(t, "report", busy)
	for l := range backend.Lease(100) {
		r.Report(backend.Outcome{Lease: l + 1})
	}
	closed := make(chan struct{})
	go func() { r.Close(); close(closed) }()
	close(lost)
	within(t, "Close", closed)
	if got := len(b.held()); got != 100 {
		t.Errorf("%d of 100 queued leases were released", got)
	}
}

// A query that has waited for longer than its caller does is not asked.
func TestStaleQueryIsNotAsked(t *testing.T) {
	r := NewResolver(pickNobody{t}, func(backend.ID, bool) {}, nil, nil)
	defer r.Close()
	answered := make(chan error, 1)
	r.queries <- &query{at: time.Now().Add(-pickTimeout), done: func(_ backend.Target, err error) bool {
		answered <- err
		return true
	}}
	if err := <-answered; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("answered %v", err)
	}
}

// pickNobody fails the test when it is asked.
type pickNobody struct{ t *testing.T }

func (p pickNobody) Pick(context.Context, backend.Query) (backend.Target, error) {
	p.t.Error("asked for a query that nobody waits for")
	return backend.Target{}, backend.ErrNone
}

func (pickNobody) Report(backend.Outcome) {}

// A paused resolver has passed on every outcome that was reported before, and does nothing
// until it is resumed.
func TestResolverPauses(t *testing.T) {
	s := newSlow(nil)
	r := NewResolver(s, func(backend.ID, bool) {}, nil, nil)
	defer r.Close()
	for i := range 1000 {
		if !r.Report(backend.Outcome{Lease: backend.Lease(i + 1)}) {
			t.Fatal("no room for a report")
		}
	}
	r.Pause()
	r.Pause()
	if n := len(s.held()); n != 1000 {
		t.Fatalf("%d outcomes passed on of 1000", n)
	}
	answers := make(chan answer, 1)
	if !r.Resolve(backend.Query{}, into(answers, true)) || !r.Report(backend.Outcome{Lease: 2000}) {
		t.Fatal("a paused resolver has no queue")
	}
	select {
	case a := <-answers:
		t.Fatalf("answered %+v", a)
	case <-time.After(50 * time.Millisecond):
	}
	if n := len(s.held()); n != 1000 || s.asked.Load() != 0 {
		t.Errorf("%d outcomes, %d picks of a paused resolver", n, s.asked.Load())
	}
	r.Resume()
	r.Resume()
	if a := within(t, "the pick", answers); a.err != nil {
		t.Error(a.err)
	}
	for len(s.held()) < 1001 {
		within(t, "the outcome", s.rang)
	}
}

// A paused resolver can be closed.
func TestPausedResolverCloses(t *testing.T) {
	s := newSlow(nil)
	r := NewResolver(s, func(backend.ID, bool) {}, nil, nil)
	r.Pause()
	r.Resolve(backend.Query{}, func(backend.Target, error) bool { return true })
	r.Report(backend.Outcome{Lease: 7})
	r.Close()
	r.Pause()
	if held := s.held(); len(held) != 1 || held[0] != 7 {
		t.Errorf("passed on %v", held)
	}
}
