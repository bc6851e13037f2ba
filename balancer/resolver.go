package balancer

import (
	"context"
	"sync"
	"time"

	"srtrelay/backend"
)

// Resolver stands between shards, which never wait, and a Balancer, which may.
// Its queues are bounded: what does not fit is refused, and SRT's own retry
// asks again.
type Resolver struct {
	balancer Balancer
	lost     func(backend.ID)
	queries  chan query
	releases chan backend.Lease
	losses   chan backend.ID
	stop     context.CancelFunc
	workers  sync.WaitGroup
}

type query struct {
	q    backend.Query
	done func(backend.Target, error) bool
}

const (
	// pickTimeout leaves a caller time for its second leg.
	pickTimeout = 1500 * time.Millisecond
	// resolverWorkers overlap the waits of a balancer that asks a database.
	resolverWorkers = 16
	// queryQueue holds the burst of a cluster's reconnecting callers.
	queryQueue = 8192
	// releaseQueue likewise; what does not fit, the shard offers again.
	releaseQueue = 8192
	lossQueue    = 256
)

// NewResolver starts the workers. lost is told of backends that are known not
// to answer.
func NewResolver(b Balancer, lost func(backend.ID)) *Resolver {
	ctx, stop := context.WithCancel(context.Background())
	r := &Resolver{
		balancer: b,
		lost:     lost,
		queries:  make(chan query, queryQueue),
		releases: make(chan backend.Lease, releaseQueue),
		losses:   make(chan backend.ID, lossQueue),
		stop:     stop,
	}
	for range resolverWorkers {
		r.workers.Go(func() { r.pick(ctx) })
	}
	r.workers.Go(func() { r.settle(ctx) })
	return r
}

// Resolve hands a query over without waiting; see shard.Balancer.
func (r *Resolver) Resolve(q backend.Query, done func(backend.Target, error) bool) bool {
	select {
	case r.queries <- query{q, done}:
		return true
	default:
		return false
	}
}

// Release hands a lease back without waiting. False: offer it again later.
func (r *Resolver) Release(l backend.Lease) bool {
	select {
	case r.releases <- l:
		return true
	default:
		return false
	}
}

// Unreachable passes on that a backend does not answer, without waiting. A
// report that does not fit is one of many alike.
func (r *Resolver) Unreachable(id backend.ID) {
	select {
	case r.losses <- id:
	default:
	}
}

// Close ends the workers. Queries that are still queued are not answered;
// leases that are queued are released.
func (r *Resolver) Close() {
	r.stop()
	r.workers.Wait()
	for {
		select {
		case l := <-r.releases:
			r.balancer.Release(l)
		default:
			return
		}
	}
}

func (r *Resolver) pick(ctx context.Context) {
	// select has no preference: without the check a worker that is told to end
	// would go on to ask, half the time, for queries that are still queued.
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case q := <-r.queries:
			limited, cancel := context.WithTimeout(ctx, pickTimeout)
			t, err := r.balancer.Pick(limited, q.q)
			cancel()
			if !q.done(t, err) && t.Lease != 0 {
				r.balancer.Release(t.Lease)
			}
		}
	}
}

func (r *Resolver) settle(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case l := <-r.releases:
			r.balancer.Release(l)
		case id := <-r.losses:
			r.lost(id)
		}
	}
}
