package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"srtrelay/backend"
	"srtrelay/internal/supervise"
)

const (
	// Interval is the time between two probes of a backend that answers.
	Interval = time.Second
	// maxInterval is what the time between two probes of a silent backend
	// grows to. A restarted SRS is not kept waiting: its heartbeat asks.
	maxInterval = 15 * time.Second
	// misses in a row take a backend down: one or two lost datagrams do not.
	misses = 3
	// afterMiss is how soon a doubt is followed up.
	afterMiss = 100 * time.Millisecond
	// maxAsking bounds the probes under way, each of which holds a socket.
	// Backends that answer need it for less than a millisecond.
	maxAsking = 256
)

// Prober probes the backends of a registry for as long as it runs, and follows
// the registry as it changes.
type Prober struct {
	// Supervisor, if not nil, supervises what probes each backend. It is set
	// before Run.
	Supervisor *supervise.Supervisor

	registry *backend.Registry
	log      *slog.Logger
	ask      func(context.Context, netip.AddrPort) (keyLen uint16, err error)
	asking   chan struct{} // a slot per probe under way
	revivals
}

// New returns a prober for the backends that the registry holds, or comes to
// hold.
func New(r *backend.Registry, log *slog.Logger) *Prober {
	return &Prober{registry: r, log: log, ask: Ask, asking: make(chan struct{}, maxAsking)}
}

// round is one Run.
type round struct {
	*Prober
	loops  *supervise.Tasks
	probes map[backend.ID]*probing
}

// probing is the loop that probes one backend at one address.
type probing struct {
	at     netip.AddrPort
	cancel context.CancelFunc
	now    chan struct{} // asks for a probe at once
}

// Run probes until ctx ends. ready, if not nil, is called once when every
// backend that was known at the start has been probed.
func (p *Prober) Run(ctx context.Context, ready func()) {
	r := &round{Prober: p, loops: p.Supervisor.Tasks(), probes: make(map[backend.ID]*probing)}
	p.resume()
	watcher := p.registry.Watch() // before the snapshot: nobody falls between
	defer watcher.Close()
	defer p.end()
	defer r.loops.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before Wait: after a panic of Run, the loops must end too
	var first sync.WaitGroup
	for _, b := range p.registry.Snapshot().Backends {
		first.Add(1)
		r.start(ctx, b, first.Done)
	}
	if ready != nil {
		r.loops.Go("prober start", func() {
			first.Wait()
			ready()
		})
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-watcher.Wake():
			changed := watcher.Take() // before the snapshot, which holds all of it
			snap := p.registry.Snapshot()
			for id := range changed {
				b, ok := snap.Find(id)
				r.follow(ctx, id, b, ok)
			}
		}
	}
}

// follow does what the change of one backend asks for: begins to probe it, ends
// that, or probes it at once.
func (r *round) follow(ctx context.Context, id backend.ID, b backend.Backend, known bool) {
	old := r.probes[id]
	switch {
	case old != nil && known && old.at == b.Addr:
		select {
		case old.now <- struct{}{}:
		default: // it was asked for already
		}
		return
	case old != nil:
		old.cancel()
		delete(r.probes, id)
	}
	if known {
		r.start(ctx, b, func() {})
	}
}

// start begins to probe a backend. first is called once, after the first probe
// or when there will be none.
func (r *round) start(ctx context.Context, b backend.Backend, first func()) {
	if !b.Addr.IsValid() { // a name that does not resolve
		first()
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	g := &probing{at: b.Addr, cancel: cancel, now: make(chan struct{}, 1)}
	r.probes[b.ID] = g
	first = sync.OnceFunc(first)
	r.loops.Loop(ctx, "probe", func(ctx context.Context) { r.loop(ctx, b.ID, g, first) })
}

// loop probes one backend until ctx ends.
func (r *round) loop(ctx context.Context, id backend.ID, g *probing, first func()) {
	defer first()
	for missed := 0; ; {
		select {
		case <-g.now: // who asked before this probe has it
		default:
		}
		keyLen, err := r.askInTurn(ctx, g.at)
		asked := time.Now()
		wait := Interval
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			missed = 0
			if r.registry.Alive(id, keyLen, asked) {
				r.log.Info("backend alive", "backend", string(id), "address", g.at, "key_length", int(keyLen)*8)
			}
		case errors.Is(err, errOwn):
			r.log.Warn("cannot probe", "backend", string(id), "error", err)
		case errors.Is(err, errStopped):
			wait = afterMiss // says nothing of the backend either
		default:
			missed++
			r.miss(id, g.at, missed, err)
			wait = patience(missed)
		}
		first()
		if !pause(ctx, wait, g.now) {
			return
		}
		// Heartbeats and callers may ask often; the backend is asked no more
		// often than in doubt.
		if !pause(ctx, afterMiss-time.Since(asked), nil) {
			return
		}
	}
}

// miss notes that a backend let a probe pass, the missed-th in a row.
func (r *round) miss(id backend.ID, at netip.AddrPort, missed int, err error) {
	if missed < misses {
		return
	}
	fell := r.registry.Missed(id)
	b, known := r.registry.Snapshot().Find(id)
	// That a backend has never answered is worth a line as well.
	if fell || missed == misses && known && b.Answered.IsZero() {
		r.log.Warn("backend down", "backend", string(id), "address", at, "error", err)
	}
}

// patience is the time from a miss to the next probe.
func patience(missed int) time.Duration {
	if missed < misses {
		return afterMiss
	}
	return min(Interval<<min(missed-misses, 10), maxInterval)
}

// pause waits for a time, shorter if hurry receives. False: ctx has ended.
func pause(ctx context.Context, d time.Duration, hurry <-chan struct{}) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-hurry:
	case <-timer.C:
	}
	return true
}

// askInTurn asks as soon as not too many others do.
func (p *Prober) askInTurn(ctx context.Context, to netip.AddrPort) (keyLen uint16, err error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case p.asking <- struct{}{}:
	}
	defer func() { <-p.asking }()
	start := time.Now()
	keyLen, err = p.ask(ctx, to)
	if took := time.Since(start); err != nil && took >= answerWithin+lateBy {
		return 0, fmt.Errorf("%w: took %v", errStopped, took)
	}
	return keyLen, err
}
