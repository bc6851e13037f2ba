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
	// interval is the time between two probes of a backend that answers.
	interval = time.Second
	// maxInterval is the longest time between two probes of a silent backend.
	// The heartbeat of an SRS that restarts causes a probe at once.
	maxInterval = 15 * time.Second
	// maxMisses missing answers in a row mark a backend down: one or two lost
	// datagrams do not.
	maxMisses = 3
	// suspectInterval is the time between two probes of a backend that has
	// missed one, and the least time between any two.
	suspectInterval = 100 * time.Millisecond
	// maxProbes bounds the probes under way, each of which holds a socket. A
	// backend that answers takes less than a millisecond.
	maxProbes = 256
)

// Prober probes the backends of a registry, and follows the changes of the
// registry.
type Prober struct {
	// Supervisor, if not nil, supervises what probes each backend. It is set
	// before Run.
	Supervisor *supervise.Supervisor

	registry *backend.Registry
	log      *slog.Logger
	ask      func(context.Context, netip.AddrPort) (keyLen uint16, err error)
	slots    chan struct{} // one per probe under way
	revivals
}

// New returns a prober for the backends of a registry, present and future.
func New(r *backend.Registry, log *slog.Logger) *Prober {
	return &Prober{registry: r, log: log, ask: ask, slots: make(chan struct{}, maxProbes)}
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
	watcher := p.registry.Watch() // before the snapshot, so that no change is missed
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
			changed := watcher.Collect() // before the snapshot, which holds all of it
			snap := p.registry.Snapshot()
			for id := range changed {
				b, ok := snap.Find(id)
				r.follow(ctx, id, b, ok)
			}
		}
	}
}

// follow handles the change of one backend: it begins to probe it, stops, or probes
// it at once.
func (r *round) follow(ctx context.Context, id backend.ID, b backend.Backend, known bool) {
	old := r.probes[id]
	switch {
	case old != nil && known && old.at == b.Addr:
		select {
		case old.now <- struct{}{}:
		default: // a probe is already requested
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
		case <-g.now: // this probe serves earlier requests
		default:
		}
		keyLen, err := r.askLimited(ctx, g.at)
		asked := time.Now()
		wait := interval
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			missed = 0
			if r.registry.MarkAlive(id, keyLen, asked) {
				r.log.Info("backend alive", "backend", string(id), "address", g.at, "key_length", int(keyLen)*8)
			}
		case errors.Is(err, errLocal):
			r.log.Warn("cannot probe", "backend", string(id), "error", err)
		case errors.Is(err, errStalled):
			wait = suspectInterval // says nothing about the backend either
		default:
			missed++
			r.miss(id, g.at, missed, err)
			wait = nextProbe(missed)
		}
		first()
		if !pause(ctx, wait, g.now) {
			return
		}
		// Heartbeats and callers may request probes often; this bounds the rate.
		if !pause(ctx, suspectInterval-time.Since(asked), nil) {
			return
		}
	}
}

// miss notes that a backend did not answer a probe, the missed-th in a row.
func (r *round) miss(id backend.ID, at netip.AddrPort, missed int, err error) {
	if missed < maxMisses {
		return
	}
	fell := r.registry.MarkDownQuiet(id)
	b, known := r.registry.Snapshot().Find(id)
	// A backend that has never answered is worth a line as well.
	if fell || missed == maxMisses && known && b.Answered.IsZero() {
		r.log.Warn("backend down", "backend", string(id), "address", at, "error", err)
	}
}

// nextProbe is the time from a missing answer to the next probe.
func nextProbe(missed int) time.Duration {
	if missed < maxMisses {
		return suspectInterval
	}
	return min(interval<<min(missed-maxMisses, 10), maxInterval)
}

// pause waits for d, or until hurry receives. It is false if ctx has ended.
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

// askLimited asks once fewer than maxProbes are under way.
func (p *Prober) askLimited(ctx context.Context, to netip.AddrPort) (keyLen uint16, err error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case p.slots <- struct{}{}:
	}
	defer func() { <-p.slots }()
	start := time.Now()
	keyLen, err = p.ask(ctx, to)
	if took := time.Since(start); err != nil && took >= answerTimeout+stallMargin {
		return 0, fmt.Errorf("%w: took %v", errStalled, took)
	}
	return keyLen, err
}
