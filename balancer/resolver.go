package balancer

import (
	"context"
	"sync"
	"time"

	"srtrelay/backend"
	"srtrelay/internal/supervise"
)

// Resolver connects shards, which never block, to a Balancer, which may. Its queues
// are bounded: it refuses a query that does not fit, and the caller's retransmission
// asks again.
type Resolver struct {
	balancer   Balancer
	lost       func(id backend.ID, certain bool)
	supervisor *supervise.Supervisor
	queries    chan *query // not values: all places of a channel keep their memory
	reports    chan backend.Outcome
	losses     chan loss
	revival    *revival
	stop       context.CancelFunc
	workers    *supervise.Tasks

	pauses chan pauseRequest
	ended  <-chan struct{}

	mu     sync.Mutex
	resume chan struct{} // closed when the workers may go on; nil while they are not paused
}

// pauseRequest asks the goroutine that passes outcomes on to stop.
type pauseRequest struct {
	paused chan<- struct{}
	resume <-chan struct{}
}

type loss struct {
	id      backend.ID
	certain bool
}

type query struct {
	q    backend.Query
	at   time.Time // when Resolve was called
	done func(backend.Target, error) bool
	// revived means that the backends that are down have been probed for it.
	revived bool
}

const (
	// pickTimeout leaves time for the handshake with the backend. It counts from
	// the call of Resolve: no caller waits for an older query.
	pickTimeout = 1500 * time.Millisecond
	// resolverWorkers is how many picks can wait for Redis at the same time.
	resolverWorkers = 24
	// queryQueue fits the burst when the callers of a cluster reconnect.
	queryQueue = 8192
	// reportQueue fits as many. The shard repeats a report that does not fit.
	reportQueue = 8192
	lossQueue   = 256
)

// Names of the resolver's tasks for the supervisor. If a pick panics, only its caller
// gets an error, and the worker goes on.
const (
	pickTask   = "resolver pick"
	workerTask = "resolver worker"
	reportTask = "resolver report"
	reviveTask = "resolver revival"
)

// NewResolver starts the workers. It calls lost for backends that do not answer, and
// revive, if not nil, for callers that no backend can take, before it refuses them.
// s supervises the workers.
func NewResolver(b Balancer, lost func(id backend.ID, certain bool), revive reviveFunc, s *supervise.Supervisor) *Resolver {
	ctx, stop := context.WithCancel(context.Background())
	r := &Resolver{
		balancer:   b,
		lost:       lost,
		supervisor: s,
		queries:    make(chan *query, queryQueue),
		reports:    make(chan backend.Outcome, reportQueue),
		losses:     make(chan loss, lossQueue),
		revival:    newRevival(revive),
		stop:       stop,
		workers:    s.Tasks(),
		pauses:     make(chan pauseRequest),
		ended:      ctx.Done(),
	}
	for range resolverWorkers {
		r.workers.Loop(ctx, workerTask, r.pick)
	}
	r.workers.Loop(ctx, workerTask, r.forwardReports)
	r.workers.Loop(ctx, reviveTask, func(ctx context.Context) { r.revival.run(ctx, r.requeue) })
	return r
}

// Resolve queues a query without blocking; see shard.Resolver.
func (r *Resolver) Resolve(q backend.Query, done func(backend.Target, error) bool) bool {
	select {
	case r.queries <- &query{q: q, at: time.Now(), done: done}:
		return true
	default:
		return false
	}
}

// Report queues an outcome without blocking. If it is false, the caller repeats it
// later.
func (r *Resolver) Report(o backend.Outcome) bool {
	select {
	case r.reports <- o:
		return true
	default:
		return false
	}
}

// Unreachable queues that a backend does not answer, without blocking. It drops a
// report that does not fit, because there are many alike.
func (r *Resolver) Unreachable(id backend.ID, certain bool) {
	select {
	case r.losses <- loss{id, certain}:
	default:
	}
}

// Pause passes all queued outcomes and losses on, so that the balancer has them, and stops
// the workers until Resume. Picks that are under way go on.
func (r *Resolver) Pause() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.resume != nil {
		return
	}
	r.resume = make(chan struct{})
	paused := make(chan struct{})
	select {
	case r.pauses <- pauseRequest{paused, r.resume}:
		<-paused
	case <-r.ended:
	}
}

// Resume has the workers go on after Pause.
func (r *Resolver) Resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.resume != nil {
		close(r.resume)
		r.resume = nil
	}
}

// awaitResume waits while the resolver is paused, or until ctx ends.
func (r *Resolver) awaitResume(ctx context.Context) {
	r.mu.Lock()
	resume := r.resume
	r.mu.Unlock()
	if resume == nil {
		return
	}
	select {
	case <-resume:
	case <-ctx.Done():
	}
}

// Close ends the workers, also of a paused resolver. It drops queued queries, and passes
// queued outcomes on.
func (r *Resolver) Close() {
	r.stop()
	r.workers.Wait()
	r.drainOutcomes()
}

// drainOutcomes passes queued outcomes and losses on.
func (r *Resolver) drainOutcomes() {
	for {
		select {
		case o := <-r.reports:
			r.report(o)
		case l := <-r.losses:
			r.lost(l.id, l.certain)
		default:
			return
		}
	}
}

// pick answers queries until ctx ends.
func (r *Resolver) pick(ctx context.Context) {
	// select has no preference: without the check a worker would go on with
	// queued queries, half the time, after ctx has ended.
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case q := <-r.queries:
			r.awaitResume(ctx)
			t, err := r.ask(ctx, q)
			if r.revival.park(q, err) {
				continue
			}
			if !q.done(t, err) && t.Lease != 0 {
				r.report(backend.Outcome{Lease: t.Lease})
			}
		}
	}
}

// requeue queues a query again after its round of probes. It refuses the query if
// there is no room.
func (r *Resolver) requeue(q *query) {
	select {
	case r.queries <- q:
	default:
		q.done(backend.Target{}, backend.ErrNone)
	}
}

// ask passes a query to the balancer, unless it is too old. If the balancer panics,
// the query gets that as an error.
func (r *Resolver) ask(ctx context.Context, q *query) (t backend.Target, err error) {
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

// report passes an outcome to the balancer. A panic there must not stop others.
func (r *Resolver) report(o backend.Outcome) {
	_ = r.supervisor.Protect(reportTask, func() { r.balancer.Report(o) })
}

// forwardReports passes outcomes and losses on until ctx ends.
func (r *Resolver) forwardReports(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-r.reports:
			r.report(o)
		case l := <-r.losses:
			r.lost(l.id, l.certain)
		case p := <-r.pauses:
			r.pause(ctx, p)
		}
	}
}

// pause passes everything on, and waits until it may resume or ctx ends. A panic there
// must not make Pause wait for ever.
func (r *Resolver) pause(ctx context.Context, p pauseRequest) {
	func() {
		defer close(p.paused)
		r.drainOutcomes()
	}()
	select {
	case <-p.resume:
	case <-ctx.Done():
	}
}
