package balancer

import (
	"context"
	"time"

	"srtrelay/backend"
	"srtrelay/internal/supervise"
)

// Resolver stands between shards, which never wait, and a Balancer, which may.
// Its queues are bounded: what does not fit is refused, and SRT's own retry
// asks again.
type Resolver struct {
	balancer   Balancer
	lost       func(id backend.ID, certain bool)
	supervisor *supervise.Supervisor
	queries    chan query
	reports    chan backend.Outcome
	losses     chan loss
	revival    *revival
	stop       context.CancelFunc
	workers    *supervise.Tasks
}

type loss struct {
	id      backend.ID
	certain bool
}

type query struct {
	q    backend.Query
	at   time.Time // when it was handed over
	done func(backend.Target, error) bool
	// again says that backends that are down have been asked for its sake.
	again bool
}

const (
	// pickTimeout leaves a caller time for its second leg. It counts from when
	// the query was handed over: nobody waits for one that is older.
	pickTimeout = 1500 * time.Millisecond
	// resolverWorkers overlap the waits of a balancer that asks a database.
	resolverWorkers = 24
	// queryQueue holds the burst of a cluster's reconnecting callers.
	queryQueue = 8192
	// reportQueue likewise; what does not fit, the shard offers again.
	reportQueue = 8192
	lossQueue   = 256
)

// Names of the resolver's tasks. A pick that panics is an error for its caller
// alone; its worker goes on.
const (
	pickTask   = "resolver pick"
	workerTask = "resolver worker"
	reportTask = "resolver report"
	reviveTask = "resolver revival"
)

// NewResolver starts the workers. lost is told of backends that are known not
// to answer. revive, if not nil, is asked for the sake of callers that no
// backend can take, before they are refused. s supervises the workers.
func NewResolver(b Balancer, lost func(id backend.ID, certain bool), revive Revive, s *supervise.Supervisor) *Resolver {
	ctx, stop := context.WithCancel(context.Background())
	r := &Resolver{
		balancer:   b,
		lost:       lost,
		supervisor: s,
		queries:    make(chan query, queryQueue),
		reports:    make(chan backend.Outcome, reportQueue),
		losses:     make(chan loss, lossQueue),
		revival:    newRevival(revive),
		stop:       stop,
		workers:    s.Tasks(),
	}
	for range resolverWorkers {
		r.workers.Loop(ctx, workerTask, r.pick)
	}
	r.workers.Loop(ctx, workerTask, r.settle)
	r.workers.Loop(ctx, reviveTask, func(ctx context.Context) { r.revival.run(ctx, r.back) })
	return r
}

// Resolve hands a query over without waiting; see shard.Resolver.
func (r *Resolver) Resolve(q backend.Query, done func(backend.Target, error) bool) bool {
	select {
	case r.queries <- query{q: q, at: time.Now(), done: done}:
		return true
	default:
		return false
	}
}

// Report passes on what became of a lease, without waiting. False: offer it
// again later.
func (r *Resolver) Report(o backend.Outcome) bool {
	select {
	case r.reports <- o:
		return true
	default:
		return false
	}
}

// Unreachable passes on that a backend does not answer, without waiting. A
// report that does not fit is one of many alike.
func (r *Resolver) Unreachable(id backend.ID, certain bool) {
	select {
	case r.losses <- loss{id, certain}:
	default:
	}
}

// Close ends the workers. Queries that are still queued are not answered;
// what is queued of leases is passed on.
func (r *Resolver) Close() {
	r.stop()
	r.workers.Wait()
	for {
		select {
		case o := <-r.reports:
			r.report(o)
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
			t, err := r.ask(ctx, q)
			if r.revival.keep(q, err) {
				continue
			}
			if !q.done(t, err) && t.Lease != 0 {
				r.report(backend.Outcome{Lease: t.Lease})
			}
		}
	}
}

// back queues a query again whose round of probes is over. One for which there
// is no room is refused.
func (r *Resolver) back(q query) {
	select {
	case r.queries <- q:
	default:
		q.done(backend.Target{}, backend.ErrNone)
	}
}

// ask puts a query to the balancer, unless it has become too old in the queue.
// A balancer that panics has given no answer: the caller is told so.
func (r *Resolver) ask(ctx context.Context, q query) (t backend.Target, err error) {
	limited, cancel := context.WithDeadline(ctx, q.at.Add(pickTimeout))
	defer cancel()
	if err := limited.Err(); err != nil {
		return backend.Target{}, err
	}
	if panicked := r.supervisor.Protect(pickTask, func() { t, err = r.balancer.Pick(limited, q.q) }); panicked != nil {
		return backend.Target{}, panicked
	}
	return t, err
}

// report passes on what became of a lease. What panics there must not keep
// other leases.
func (r *Resolver) report(o backend.Outcome) {
	_ = r.supervisor.Protect(reportTask, func() { r.balancer.Report(o) })
}

func (r *Resolver) settle(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-r.reports:
			r.report(o)
		case l := <-r.losses:
			r.lost(l.id, l.certain)
		}
	}
}
