package balancer

import (
	"context"
	"errors"
	"sync"
	"time"

	"srtrelay/backend"
)

// reviveEvery is the least time between two rounds of probes for refused callers.
// However many callers there are, backends that are down are probed no more often
// than a suspect one.
const reviveEvery = 100 * time.Millisecond

// reviveFunc probes the backends that are down. It returns true as soon as one gets
// streams again, false when none has answered. See probe.Prober.
type reviveFunc func(ctx context.Context) bool

// revival holds the queries that no backend can take until those that are down have
// been probed: the prober's own probes of them are seconds apart, and callers come
// the moment a backend is back. All waiting queries share one round.
type revival struct {
	ask  reviveFunc
	wake chan struct{}

	mu      sync.Mutex
	waiting []query
}

func newRevival(ask reviveFunc) *revival { return &revival{ask: ask, wake: make(chan struct{}, 1)} }

// park holds a query that was refused for want of backends, once per query.
func (v *revival) park(q query, err error) bool {
	if v.ask == nil || q.again || !errors.Is(err, backend.ErrNone) {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.waiting) >= queryQueue {
		return false
	}
	q.again = true
	v.waiting = append(v.waiting, q)
	v.signal()
	return true
}

// signal wakes run.
func (v *revival) signal() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// release returns the first n waiting queries.
func (v *revival) release(n int) []query {
	v.mu.Lock()
	defer v.mu.Unlock()
	taken := v.waiting[:n:n]
	if v.waiting = v.waiting[n:]; len(v.waiting) == 0 {
		v.waiting = nil
	}
	return taken
}

func (v *revival) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.waiting)
}

// run probes while queries wait, until ctx ends, and requeues each query after its
// round. Queries that came during a round wait for the next one, unless a backend
// has answered.
func (v *revival) run(ctx context.Context, back func(query)) {
	if v.count() > 0 { // of before a panic
		v.signal()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.wake:
		}
		for n := v.count(); n > 0; n = v.count() {
			next := time.NewTimer(reviveEvery)
			limited, cancel := context.WithTimeout(ctx, pickTimeout)
			if v.ask(limited) {
				n = v.count()
			}
			cancel()
			for _, q := range v.release(n) {
				back(q)
			}
			select {
			case <-ctx.Done():
				next.Stop()
				return
			case <-next.C:
			}
		}
	}
}
