package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
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
	"srtrelay/observe/metrics"
	"srtrelay/observe/streams"
	"srtrelay/shard"
	"srtrelay/streamid/rules"
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

// run joins the rooms and keeps them running: until ctx ends, or drain is
// closed and the sessions are gone or the grace is over.
func run(ctx context.Context, drain <-chan struct{}, c config.Config, p process) error {
	log := p.log
	registry := backend.NewRegistry()
	laws, err := openRules(c, log)
	if err != nil {
		return cannotStart(err)
	}
	defer laws.close()
	if err := addBackends(registry, c); err != nil {
		return cannotStart(err)
	}
	files := planFiles(c, udp.FileLimit())
	if err := files.check(log); err != nil {
		return cannotStart(err)
	}
	carried := new(bitrates)
	chosen := newChoice(registry, c, carried, p)
	defer chosen.Close()
	state := &lifeState{shared: chosen.shared, lines: p.lines}
	prober := probe.New(registry, log)
	prober.Supervisor = p.supervisor
	resolver := balancer.NewResolver(chosen, func(id backend.ID, certain bool) {
		switch {
		case certain && registry.Down(id):
			log.Warn("backend down", "backend", string(id), "reason", "nobody listens there")
		case !certain && registry.Doubt(id):
			log.Info("backend in doubt", "backend", string(id), "reason", "does not answer its callers")
		}
	}, prober.Revive, p.supervisor)
	defer resolver.Close()
	events := make(chan shard.Event, eventQueue)
	group, err := openGroup(c, registry, resolver, laws.live(), events, log)
	if err != nil {
		return cannotStart(err)
	}
	registry.Reserve(group.Addrs()...)
	if b, found := registry.Own(); found {
		group.Close()
		return cannotStart(fmt.Errorf("--backend: %q is %s, where the relay itself listens", b.Host, b.Addr))
	}
	quality, told := metrics.NewQuality(), newChronicle()
	watch := streams.New(group, quality, log)
	server := control{
		config: c, known: knownBackends{registry, chosen, carried}, chosen: chosen, group: group, watch: watch,
		rules: laws.live(), state: state, told: told, quality: quality, process: p,
		connections: api.NewConnections(api.MaxConnections),
	}.server()
	if err := server.Listen(c.API); err != nil {
		group.Close()
		return cannotStart(err)
	}

	rooms := p.supervisor.Tasks()
	background, end := context.WithCancel(context.Background())
	lines := newEventLog(log, told)
	last := p.supervisor.Tasks()
	last.Loop(background, "event log", func(ctx context.Context) { lines.run(ctx, events) })
	rooms.Loop(background, "backend changes", func(ctx context.Context) {
		followChanges(ctx, registry, chosen.memory.Ejections, told.feed.Publish, log)
	})
	rooms.Loop(background, "samples", watch.Run)
	named := make(chan struct{})
	lookedUp := sync.OnceFunc(func() { close(named) })
	rooms.Loop(background, "backend names", func(ctx context.Context) { follow(ctx, registry, p, lookedUp) })
	rooms.Loop(background, "heartbeats", func(ctx context.Context) { age(ctx, registry, log) })
	rooms.Loop(background, "rules", func(ctx context.Context) { laws.watch(ctx, told.rulesRead, log) })
	rooms.Loop(background, "backend rates", func(ctx context.Context) { carried.follow(ctx, group) })
	select {
	case <-named:
	case <-time.After(firstNames):
	case <-ctx.Done():
	}
	probed := make(chan struct{})
	ready := sync.OnceFunc(func() { close(probed) })
	rooms.Loop(background, "prober", func(ctx context.Context) { prober.Run(ctx, ready) })
	rooms.Go("api", func() {
		if err := server.Serve(); err != nil {
			log.Error("the API has failed, streams go on", "error", err)
		}
	})
	select {
	case <-probed:
	case <-time.After(firstProbes):
	case <-ctx.Done():
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
		rooms.Loop(background, "memory", giveBack)
	}
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), c.Shards+spareProcs))
	sessions := openLedger(c.SessionLedger, group, log)
	group.Start()
	sessions.start(background, rooms, group)
	state.started.Store(true)
	log.Info("relaying", "version", buildVersion(), "listen", group.Addrs(), "api", server.Addr(),
		"shards", c.Shards, "backends", len(c.Backends), "policy", c.Policy, "state", c.State)
	warnBuffers(group, c, log)
	warnMemory(os.DirFS("/"), group, log)
	if err := udp.ReserveFiles(files.reserved()); err != nil {
		log.Warn("no descriptors are kept for upstream sockets", "error", err)
	}

	err = wait(ctx, drain, group, c.Grace, state, p)
	group.Stop()
	select {
	case late := <-group.Broken(): // while it stopped
		if err == nil {
			err = broken(late, log)
		}
	default:
	}
	end()
	last.Wait() // how the last sessions ended is in the feed, and goes out with it
	goodbye, cancel := context.WithTimeout(context.Background(), apiGoodbye)
	defer cancel()
	_ = server.Shutdown(goodbye) // cuts off who is not done; there is nothing else to do
	rooms.Wait()
	// A shard that panicked has told nobody: the next process does.
	_, panicked := errors.AsType[*shard.PanicError](err)
	sessions.close(panicked)
	log.Info("stopped")
	return err
}

// wait returns when the relay is to stop, with an error if it must.
func wait(ctx context.Context, drain <-chan struct{}, group *shard.Group, grace time.Duration, state *lifeState, p process) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-group.Broken():
		return broken(err, p.log)
	case <-drain:
	}
	state.draining.Store(true)
	limited, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	drained := make(chan uint64, 1)
	p.supervisor.Tasks().Go("drain", func() {
		defer close(drained)
		drained <- group.Drain(limited)
	})
	select {
	case left := <-drained:
		if left > 0 {
			p.log.Warn("ending sessions", "sessions", left)
		}
		return nil
	case err := <-group.Broken():
		cancel()
		<-drained
		return broken(err, p.log)
	}
}

// broken logs why a shard cannot go on, at once and with the stack of a panic,
// and returns it.
func broken(err error, log *slog.Logger) error {
	if p, ok := errors.AsType[*shard.PanicError](err); ok {
		log.Error("a shard has panicked, the relay stops", "shard", p.Shard, "panic", fmt.Sprint(p.Value), "stack", string(p.Stack))
	} else {
		log.Error("a shard cannot go on, the relay stops", "error", err)
	}
	return err
}

func openGroup(c config.Config, registry *backend.Registry, resolver *balancer.Resolver, live *rules.Live, events chan<- shard.Event, log *slog.Logger) (*shard.Group, error) {
	cpus := c.Pin.CPUs
	if c.Pin.Auto {
		usable, err := udp.UsableCPUs()
		if err != nil {
			return nil, fmt.Errorf("read the CPU affinity: %w", err)
		}
		// With more shards than CPUs the scheduler does better than a fixed
		// assignment.
		if c.Shards <= len(usable) {
			cpus = usable
		}
	}
	sockets := udp.Options{RecvBuf: c.Rcvbuf, SendBuf: c.Sndbuf, GRO: c.GRO, GSO: c.GSO}
	if c.SteerByCPU {
		if c.Shards > len(cpus) {
			return nil, fmt.Errorf("--steer cpu: every shard needs a CPU of its own, there are too few for %d", c.Shards)
		}
		sockets.Steer = cpus[:c.Shards]
	}
	cfg := shard.Config{
		Listen:               c.Listen,
		Shards:               c.Shards,
		CPUs:                 cpus,
		Batch:                c.Batch,
		BatchWait:            c.BatchWait,
		Sockets:              sockets,
		UpstreamPorts:        c.UpstreamPorts,
		MaxSessions:          c.MaxSessions,
		MaxHalfOpen:          c.MaxHandshakes,
		MaxPerSource:         c.MaxHandshakesPerSource,
		MaxSessionsPerSource: c.MaxSessionsPerSource,
		IdleTimeout:          c.IdleTimeout,
		BackendSilence:       c.BackendSilence,
		Telemetry:            c.Telemetry,
		Registry:             registry,
		Balancer:             resolver,
		Rules:                live,
		Events:               events,
		Log:                  log,
	}
	_, _ = rand.Read(cfg.Secret[:]) // never fails (crypto/rand, Go 1.24)
	return shard.Open(cfg)
}

// warnBuffers says once when the kernel grants less than was asked.
func warnBuffers(group *shard.Group, c config.Config, log *slog.Logger) {
	recv, send := group.GrantedBuffers()
	if recv < c.Rcvbuf {
		log.Warn("receive buffer smaller than asked", "asked_bytes", c.Rcvbuf, "granted_bytes", recv,
			"advice", "raise net.core.rmem_max or grant CAP_NET_ADMIN")
	}
	if send < c.Sndbuf {
		log.Warn("send buffer smaller than asked", "asked_bytes", c.Sndbuf, "granted_bytes", send,
			"advice", "raise net.core.wmem_max or grant CAP_NET_ADMIN")
	}
}
