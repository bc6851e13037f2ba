package balancer

import (
	"context"
	"errors"
	"sync"
	"time"

	"srtrelay/backend"
)

// reviveEvery is the least time from one round of probes that refused callers
// have caused to the next. However many callers come, backends that are down are
// asked no more often than one in doubt is.
const reviveEvery = 100 * time.Millisecond

// Revive has the backends that are down asked for a sign of life. It returns
// true as soon as one takes streams again, false when all have been asked in
// vain. See probe.Prober.
type Revive func(ctx context.Context) bool

// revival keeps the queries that no backend can take until those that are down
// have been asked: probes of a backend that is down are seconds apart, and its
// callers come the moment it is back. All queries that wait share one round.
type revival struct {
	ask  Revive
	wake chan struct{}

	mu      sync.Mutex
	waiting []query
}

func newRevival(ask Revive) *revival { return &revival{ask: ask, wake: make(chan struct{}, 1)} }

// keep takes a query that was refused, once, if it is for want of backends.
func (v *revival) keep(q query, err error) bool {
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

// signal has run look.
func (v *revival) signal() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// take returns the queries that wait, or the first n of them.
func (v *revival) take(n int) []query {
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

// run asks for as long as queries wait, until ctx ends, and puts each query
// back when its round is over: those that came while one was under way wait for
// the next, unless somebody has answered.
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
			for _, q := range v.take(n) {
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
