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

// reviveFunc probes the backends that are down. It returns true soon after one gets
// streams again, false when none has answered. See probe.Prober.
type reviveFunc func(ctx context.Context) bool

// revival holds queries that no backend can take until the backends that are down have
// been probed. The prober's own probes of them are seconds apart, but callers come back
// as soon as a backend does. All waiting queries share one round of probes.
type revival struct {
	revive reviveFunc
	wake   chan struct{}

	mu      sync.Mutex
	waiting []*query
}

func newRevival(revive reviveFunc) *revival {
	return &revival{revive: revive, wake: make(chan struct{}, 1)}
}

// park holds a query that no backend could take, once per query, and reports whether it
// did.
func (v *revival) park(q *query, err error) bool {
	if v.revive == nil || q.revived || !errors.Is(err, backend.ErrNone) {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.waiting) >= queryQueue {
		return false
	}
	q.revived = true
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

// release removes the first n waiting queries and returns them.
func (v *revival) release(n int) []*query {
	v.mu.Lock()
	defer v.mu.Unlock()
	released := v.waiting[:n:n]
	if v.waiting = v.waiting[n:]; len(v.waiting) == 0 {
		v.waiting = nil
	}
	return released
}

func (v *revival) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.waiting)
}

// run probes while queries wait, until ctx ends, and requeues each query after its
// round. Queries that came during a round wait for the next one, unless a backend
// has answered.
func (v *revival) run(ctx context.Context, requeue func(*query)) {
	if v.count() > 0 { // left by a run that panicked
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
			if v.revive(limited) {
				n = v.count()
			}
			cancel()
			for _, q := range v.release(n) {
				requeue(q)
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
