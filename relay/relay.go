// Package relay is the composition root: it opens the parts of a relay, joins
// them, runs them until they are to stop, and closes them in order. It writes
// what happens to the log and the event feed. What a part does stands in the
// part's own package.
package relay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"srtrelay/api"
	"srtrelay/backend"
	"srtrelay/backend/probe"
	"srtrelay/balancer"
	"srtrelay/config"
	"srtrelay/internal/supervise"
	"srtrelay/observe/metrics"
	"srtrelay/observe/streams"
	"srtrelay/shard"
	"srtrelay/udp"
)

const (
	// firstProbes is how long the start waits to learn which backends live
	// and what key length they advertise, before the first caller asks.
	firstProbes = time.Second
	// firstNames is how long it waits before that for the addresses of names: a
	// name server that answers does so within a few ms.
	firstNames = 500 * time.Millisecond
	// apiGoodbye lets answers under way finish.
	apiGoodbye = time.Second
	// eventQueue holds what a burst of a thousand reconnecting callers per
	// shard has to tell while the log is busy.
	eventQueue = 16384
	// spareProcs are the Ps of all that is no shard. A shard under load never
	// gives up its own (its system calls are raw), so that without these the
	// API and the resolver would run once in 10 ms, when the runtime preempts.
	spareProcs = 2
	// gcPercent lets the heap grow by so much between two collections. What
	// lives is sessions, in large pieces without pointers, and garbage comes
	// with handshakes and questions only: memory is worth more here than
	// collections are.
	gcPercent = 25
)

// relay is one relay. Its fields stand in the order in which they are opened.
type relay struct {
	config config.Config
	process

	rules       *ruleFile
	registry    *backend.Registry
	files       filePlan
	bitrates    *bitrates
	balancer    selectedBalancer
	prober      *probe.Prober
	resolver    *balancer.Resolver
	events      chan shard.Event
	group       *shard.Group
	sinks       eventSinks
	quality     *metrics.Quality
	watch       *streams.Watch
	state       *lifeState
	connections *api.Connections
	server      *api.Server
	ledger      *sessionLedger

	// tasks end when the background context does; eventLog is waited for before
	// the API, which tells the last events.
	tasks, eventLog *supervise.Tasks
}

// run opens the relay and keeps it running: until ctx ends, or drain is closed
// and the sessions are gone or the grace is over.
func run(ctx context.Context, drain <-chan struct{}, c config.Config, p process) error {
	r := &relay{config: c, process: p}
	defer r.close()
	if err := r.open(); err != nil {
		return &startError{err}
	}
	background, end := context.WithCancel(context.Background())
	defer end()
	r.startTasks(ctx, background)
	r.tuneRuntime(background)
	r.startGroup(background)
	err := r.wait(ctx, drain)
	r.group.Stop()
	select {
	case late := <-r.group.Broken(): // while it stopped
		if err == nil {
			err = r.broken(late)
		}
	default:
	}
	end()
	r.stopTasks()
	// A shard that panicked has told nobody: the next process does.
	_, panicked := errors.AsType[*shard.PanicError](err)
	r.ledger.close(panicked)
	r.log.Info("stopped")
	return err
}

// open opens every part; callers are not yet answered. After an error close is
// all that there is to do.
func (r *relay) open() (err error) {
	if r.rules, err = openRules(r.config, r.log); err != nil {
		return err
	}
	r.registry = backend.NewRegistry()
	if err := addBackends(r.registry, r.config); err != nil {
		return err
	}
	r.files = planFiles(r.config, udp.FileLimit())
	if err := r.files.check(r.log); err != nil {
		return err
	}
	r.bitrates = new(bitrates)
	r.balancer = openBalancer(r.registry, r.config, r.bitrates, r.process)
	r.prober = probe.New(r.registry, r.log)
	r.prober.Supervisor = r.supervisor
	r.resolver = balancer.NewResolver(r.balancer, r.backendRefused, r.prober.Revive, r.supervisor)
	r.events = make(chan shard.Event, eventQueue)
	if r.group, err = openGroup(r.config, r.registry, r.resolver, r.rules.live(), r.events, r.log); err != nil {
		return err
	}
	if err := r.openAPI(); err != nil {
		r.group.Close()
		return err
	}
	return nil
}

// openAPI binds the address of the API, and refuses backends that are the relay
// itself.
func (r *relay) openAPI() error {
	r.registry.Reserve(r.group.Addrs()...)
	if b, found := r.registry.Own(); found {
		return fmt.Errorf("--backend: %q is %s, where the relay itself listens", b.Host, b.Addr)
	}
	r.quality, r.sinks = metrics.NewQuality(), newEventSinks()
	r.watch = streams.New(r.group, r.quality, r.log)
	r.state = &lifeState{shared: r.balancer.shared, lines: r.lines}
	r.connections = api.NewConnections(api.MaxConnections)
	r.server = r.newServer()
	return r.server.Listen(r.config.API)
}

// close closes what open has opened and nothing else has closed.
func (r *relay) close() {
	if r.resolver != nil {
		r.resolver.Close()
		r.balancer.Close()
	}
	if r.rules != nil {
		r.rules.close()
	}
}

// backendRefused marks a backend whose callers were refused or not answered.
func (r *relay) backendRefused(id backend.ID, certain bool) {
	switch {
	case certain && r.registry.Down(id):
		r.log.Warn("backend down", "backend", string(id), "reason", "nobody listens there")
	case !certain && r.registry.Doubt(id):
		r.log.Info("backend in doubt", "backend", string(id), "reason", "does not answer its callers")
	}
}

// startTasks starts all that is no shard. It returns when the addresses of
// backends are known and they have been probed, or after firstNames and
// firstProbes.
func (r *relay) startTasks(ctx, background context.Context) {
	r.tasks, r.eventLog = r.supervisor.Tasks(), r.supervisor.Tasks()
	lines := newEventLog(r.log, r.sinks)
	r.eventLog.Loop(background, "event log", func(ctx context.Context) { lines.run(ctx, r.events) })
	r.tasks.Loop(background, "backend changes", func(ctx context.Context) {
		followChanges(ctx, r.registry, r.balancer.memory.Ejections, r.sinks.feed.Publish, r.log)
	})
	r.tasks.Loop(background, "samples", r.watch.Run)
	r.tasks.Loop(background, "heartbeats", func(ctx context.Context) { age(ctx, r.registry, r.log) })
	r.tasks.Loop(background, "rules", func(ctx context.Context) { r.rules.watch(ctx, r.sinks.rulesRead, r.log) })
	r.tasks.Loop(background, "backend rates", func(ctx context.Context) { r.bitrates.follow(ctx, r.group) })
	r.loopUntilReady(ctx, background, "backend names", firstNames, func(ctx context.Context, ready func()) {
		followNames(ctx, r.registry, r.process, ready)
	})
	r.tasks.Go("api", func() {
		if err := r.server.Serve(); err != nil {
			r.log.Error("the API has failed, streams go on", "error", err)
		}
	})
	r.loopUntilReady(ctx, background, "prober", firstProbes, r.prober.Run)
}

// loopUntilReady starts a task and waits until it calls ready, for atMost, or
// until ctx ends.
func (r *relay) loopUntilReady(ctx, background context.Context, name string, atMost time.Duration, run func(ctx context.Context, ready func())) {
	done := make(chan struct{})
	ready := sync.OnceFunc(func() { close(done) })
	r.tasks.Loop(background, name, func(ctx context.Context) { run(ctx, ready) })
	select {
	case <-done:
	case <-time.After(atMost):
	case <-ctx.Done():
	}
}

// tuneRuntime sets the garbage collector and the number of Ps.
func (r *relay) tuneRuntime(background context.Context) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
		r.tasks.Loop(background, "memory", giveBack)
	}
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), r.config.Shards+spareProcs))
}

// startGroup starts the shards: from here on callers are answered.
func (r *relay) startGroup(background context.Context) {
	r.ledger = openLedger(r.config.SessionLedger, r.group, r.log)
	r.group.Start()
	r.ledger.start(background, r.tasks, r.group)
	r.state.started.Store(true)
	c := r.config
	r.log.Info("relaying", "version", r.version, "listen", r.group.Addrs(), "api", r.server.Addr(),
		"shards", c.Shards, "backends", len(c.Backends), "policy", c.Policy, "state", c.State)
	warnBuffers(r.group, c, r.log)
	warnMemory(os.DirFS("/"), r.group, r.log)
	if err := udp.ReserveFiles(r.files.reserved()); err != nil {
		r.log.Warn("no descriptors are kept for upstream sockets", "error", err)
	}
}

// stopTasks waits for the tasks, whose context has ended. How the last sessions
// ended is in the feed before the API says goodbye.
func (r *relay) stopTasks() {
	r.eventLog.Wait()
	goodbye, cancel := context.WithTimeout(context.Background(), apiGoodbye)
	defer cancel()
	_ = r.server.Shutdown(goodbye) // cuts off who is not done; there is nothing else to do
	r.tasks.Wait()
}

// wait returns when the relay is to stop, with an error if it must.
func (r *relay) wait(ctx context.Context, drain <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-r.group.Broken():
		return r.broken(err)
	case <-drain:
	}
	r.state.draining.Store(true)
	limited, cancel := context.WithTimeout(ctx, r.config.Grace)
	defer cancel()
	drained := make(chan uint64, 1)
	r.supervisor.Tasks().Go("drain", func() {
		defer close(drained)
		drained <- r.group.Drain(limited)
	})
	select {
	case left := <-drained:
		if left > 0 {
			r.log.Warn("ending sessions", "sessions", left)
		}
		return nil
	case err := <-r.group.Broken():
		cancel()
		<-drained
		return r.broken(err)
	}
}

// broken logs why a shard cannot go on, at once and with the stack of a panic,
// and returns it.
func (r *relay) broken(err error) error {
	if p, ok := errors.AsType[*shard.PanicError](err); ok {
		r.log.Error("a shard has panicked, the relay stops", "shard", p.Shard, "panic", fmt.Sprint(p.Value), "stack", string(p.Stack))
	} else {
		r.log.Error("a shard cannot go on, the relay stops", "error", err)
	}
	return err
}
