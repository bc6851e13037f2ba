// Package relay is the composition root. It opens the parts of a relay, connects them,
// runs them until a signal or a failure, and closes them in order. It writes events to
// the log and the feed. How a part works is the business of the part's own package.
package relay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
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
	// firstProbesTimeout is how long the start waits for the probes to learn which
	// backends are alive, and their key lengths, before the first caller needs one.
	firstProbesTimeout = time.Second
	// firstLookupsTimeout is how long the start waits before that for the addresses of
	// backends' names. A name server normally answers within a few ms.
	firstLookupsTimeout = 500 * time.Millisecond
	// apiShutdownTimeout lets running requests finish.
	apiShutdownTimeout = time.Second
	// eventQueueSize is enough for the events of a thousand reconnecting callers per
	// shard while the log is busy.
	eventQueueSize = 16384
	// extraProcs are Ps for all other goroutines. A shard under load never gives up
	// its own P (its system calls are raw), so without these the API and the resolver
	// would only run when the runtime preempts a shard, every 10 ms.
	extraProcs = 2
	// gcPercent is lower than Go's default of 100. The live heap is sessions, in large
	// objects without pointers, and only handshakes and API calls make garbage: so
	// frequent collections are cheap and save memory.
	gcPercent = 25
)

// relay is one relay. Its fields are in the order in which open sets them.
type relay struct {
	config config.Config
	process

	reloads     *reloads
	rules       *ruleFile
	registry    *backend.Registry
	files       filePlan
	bitrates    *bitrates
	balancer    selectedBalancer
	prober      *probe.Prober
	resolver    *balancer.Resolver
	events      chan shard.Event
	group       *shard.Group
	kernel      kernelPath
	sinks       eventSinks
	eventFile   *eventFile
	quality     *metrics.Quality
	watch       *streams.Watch
	state       *readiness
	certificate *api.Certificate // nil without TLS
	connections *api.Connections
	server      *api.Server
	ledger      *sessionLedger

	// tasks end with the background context. eventLog ends first, so that the API can
	// still serve the last events.
	tasks, eventLog *supervise.Tasks
}

// run opens the relay and runs it until ctx ends, or until drain is closed and then all
// sessions have ended or the grace is over.
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
	r.manager.Stopping(stopTimeout)
	r.group.Stop()
	select {
	case late := <-r.group.Broken(): // while it stopped
		if err == nil {
			err = r.logBroken(late)
		}
	default:
	}
	end()
	r.stopTasks()
	r.kernel.close() // which the API has read until now
	// A shard that panicked has sent no SHUTDOWN: the next process does.
	_, panicked := errors.AsType[*shard.PanicError](err)
	r.ledger.close(panicked)
	r.log.Info("stopped")
	return err
}

// open opens every part. Callers get no answer yet. After an error the caller only has
// to call close.
func (r *relay) open() (err error) {
	r.reloads = newReloads(r)
	if r.rules, err = openRules(r.config, r.log); err != nil {
		return err
	}
	r.registry = backend.NewRegistry()
	if err := addStaticBackends(r.registry, r.config); err != nil {
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
	r.events = make(chan shard.Event, eventQueueSize)
	if r.group, r.kernel, err = openGroup(r.config, r.registry, r.resolver, r.rules.live, r.events, r.process); err != nil {
		return err
	}
	if err := r.openAPI(); err != nil {
		r.group.Close()
		r.kernel.close()
		return err
	}
	return nil
}

// openAPI binds the address of the API. It fails if a backend is the relay itself.
func (r *relay) openAPI() (err error) {
	r.registry.SetOwnAddrs(r.group.Addrs()...)
	if b, found := r.registry.FindOwn(); found {
		return fmt.Errorf("--backend: %q is %s, where the relay itself listens", b.Host, b.Addr)
	}
	r.quality, r.sinks = metrics.NewQuality(), newEventSinks()
	if r.eventFile, err = openEventFile(r.config, r.log); err != nil {
		return fmt.Errorf("--event-log: %w", err)
	}
	r.watch = streams.New(r.group, r.quality, r.log)
	r.state = &readiness{
		registry: r.registry, shared: r.balancer.shared, lines: r.lines,
	}
	r.state.withoutBackends.Store(r.config.ReadyWithoutBackends)
	if err := r.openCertificate(); err != nil {
		return err
	}
	r.connections = api.NewConnections(r.files.apiConnections())
	r.server = r.newServer()
	return r.server.Listen(r.config.API)
}

// close closes the parts that have no context.
func (r *relay) close() {
	if r.resolver != nil {
		r.resolver.Close()
		r.balancer.Close()
	}
	if r.reloads != nil {
		signal.Stop(r.reloads.hup)
	}
}

// backendRefused marks a backend that refused callers or did not answer them.
func (r *relay) backendRefused(id backend.ID, certain bool) {
	switch {
	case certain && r.registry.MarkDown(id):
		r.log.Warn("backend down", "backend", string(id), "reason", "nobody listens there")
	case !certain && r.registry.Suspect(id):
		r.log.Info("backend in doubt", "backend", string(id), "reason", "does not answer its callers")
	}
}

// startTasks starts everything except the shards. It returns when the names of backends
// have been looked up and all backends have been probed, or after firstLookupsTimeout
// and firstProbesTimeout.
func (r *relay) startTasks(ctx, background context.Context) {
	r.tasks, r.eventLog = r.supervisor.Tasks(), r.supervisor.Tasks()
	r.eventFile.start(r.sinks.feed, r.supervisor)
	r.startManagerTasks(background)
	lines := newEventLog(r.log, r.sinks)
	r.eventLog.Loop(background, "event log", func(ctx context.Context) { lines.run(ctx, r.events) })
	r.tasks.Loop(background, "backend changes", func(ctx context.Context) {
		followChanges(ctx, r.registry, r.balancer.memory.Ejections, r.sinks.feed.Publish, r.log)
	})
	r.tasks.Loop(background, "samples", r.watch.Run)
	r.tasks.Loop(background, "heartbeats", func(ctx context.Context) {
		expireBackends(ctx, r.registry, r.balancer.memory.InUse, r.log)
	})
	r.tasks.Loop(background, "rules", func(ctx context.Context) {
		r.rules.watch(ctx, func(err error) { reportRules(err, r.sinks, r.log) })
	})
	r.tasks.Loop(background, "reload", r.reloads.follow)
	r.tasks.Loop(background, "backend rates", func(ctx context.Context) { r.bitrates.follow(ctx, r.group) })
	if r.certificate != nil {
		r.tasks.Loop(background, "certificate", r.watchCertificate)
	}
	r.loopUntilReady(ctx, background, "backend names", firstLookupsTimeout, func(ctx context.Context, ready func()) {
		resolveNames(ctx, r.registry, r.process, ready)
	})
	r.tasks.Go("api", func() {
		if err := r.server.Serve(); err != nil {
			r.log.Error("the API has failed, streams go on", "error", err)
		}
	})
	r.loopUntilReady(ctx, background, "prober", firstProbesTimeout, r.prober.Run)
}

// loopUntilReady starts a task and waits until it calls ready, atMost has passed, or ctx
// ends.
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

// tuneRuntime sets the garbage collector's target and the number of Ps.
func (r *relay) tuneRuntime(background context.Context) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
		r.tasks.Loop(background, "memory", trimHeap)
	}
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), r.config.Shards+extraProcs))
}

// startGroup starts the shards. From here on callers get answers.
func (r *relay) startGroup(background context.Context) {
	r.ledger = openLedger(r.config.SessionLedger, false, r.group, r.log)
	r.group.Start()
	if r.kernel.path != nil {
		r.tasks.Loop(background, "kernel path", func(ctx context.Context) { r.kernel.follow(ctx, r.group) })
	}
	r.ledger.start(background, r.tasks, r.group)
	r.state.started.Store(true)
	r.manager.Ready()
	c := r.config
	r.log.Info("relaying", "version", r.version, "listen", r.group.Addrs(), "api", r.server.Addr(),
		"shards", c.Shards, "backends", len(c.Backends), "policy", c.Policy, "state", c.State)
	warnBuffers(r.group, c, r.log)
	warnMemory(os.DirFS("/"), r.group, r.log)
	if err := udp.ReserveFiles(r.files.reserved()); err != nil {
		r.log.Warn("cannot reserve descriptors for upstream sockets", "error", err)
	}
}

// stopTasks waits for the tasks, whose context has ended. The event log ends before the
// API shuts down, so that the feed has the ends of the last sessions.
func (r *relay) stopTasks() {
	r.eventLog.Wait()
	r.eventFile.stop()
	limited, cancel := context.WithTimeout(context.Background(), apiShutdownTimeout)
	defer cancel()
	_ = r.server.Shutdown(limited) // closes connections that are still in use
	r.tasks.Wait()
}
