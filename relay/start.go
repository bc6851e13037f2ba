package relay

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"srtrelay/config"
	"srtrelay/udp"
)

// start opens the sockets, or takes them over from a running process, and starts everything.
// From here on callers get answers. After an error the caller only has to end background and
// to call close.
func (r *relay) start(ctx, background context.Context) error {
	r.tasks, r.eventLog = r.supervisor.Tasks(), r.supervisor.Tasks()
	r.tuneRuntime(background)
	takesOver := r.config.TakeOver != config.TakeOverNever
	if takesOver {
		r.warmUp(ctx, background) // while the other process serves callers
	}
	before, err := r.findPredecessor(ctx)
	if err != nil {
		return err
	}
	r.inheritManager(before)
	if before != nil {
		r.discardStored()
	} else if before = r.recoverCrashed(); before == nil {
		if err := r.openAnew(); err != nil {
			return err
		}
		r.ledger = openLedger(r.config.SessionLedger, false, r.group, r.log)
		r.checkpointer = r.openCheckpointer(0)
	}
	switch {
	case before == nil:
	case before.crashed != nil:
		r.group.Start()
		r.passing.start(r.group)
		r.group.Settle()
		before.close(nil)
	default:
		if err := r.startTakenOver(ctx, before); err != nil {
			return err
		}
	}
	r.startTasks(background)
	if !takesOver {
		r.warmUp(ctx, background)
	}
	if before == nil {
		r.group.Start()
		r.passing.start(r.group)
	}
	r.announce(background, before)
	return nil
}

// startTakenOver opens everything with what a running process has, and takes its sessions over.
// After an error that process goes on.
func (r *relay) startTakenOver(ctx context.Context, before *predecessor) error {
	if err := r.openSockets(before); err != nil {
		before.close(err)
		return err
	}
	r.ledger = openLedger(r.config.SessionLedger, true, r.group, r.log)
	r.checkpointer = r.openCheckpointer(0)
	if err := r.takeOver(ctx, before); err != nil {
		r.closeSockets()
		r.checkpointer.close()
		r.ledger.close(true) // which the group has used until then
		before.close(err)
		return err
	}
	r.group.Start()
	r.passing.start(r.group)
	before.close(nil)
	return nil
}

// warmUp starts the tasks that learn about backends. It returns when the names of backends
// have been looked up and all backends have been probed, or after firstLookupsTimeout and
// firstProbesTimeout.
func (r *relay) warmUp(ctx, background context.Context) {
	p := r.process // inheritManager may change it
	r.loopUntilReady(ctx, background, "backend names", firstLookupsTimeout, func(ctx context.Context, ready func()) {
		resolveNames(ctx, r.registry, p, ready)
	})
	r.loopUntilReady(ctx, background, "prober", firstProbesTimeout, r.prober.Run)
}

// startTasks starts the other tasks, and the API.
func (r *relay) startTasks(background context.Context) {
	r.eventFile.start(r.sinks.feed, r.supervisor)
	r.startManagerTasks(background)
	lines := newEventLog(r.log, r.sinks)
	lines.note = r.passing.note
	r.eventLog.Loop(background, "event log", func(ctx context.Context) { lines.run(ctx, r.events) })
	r.tasks.Loop(background, "backend changes", func(ctx context.Context) {
		f := changeFollower{registry: r.registry, ejected: r.balancer.memory.Ejections, publish: r.sinks.feed.Publish, log: r.log}
		f.run(ctx, r.sinks.flushChanges)
	})
	r.tasks.Loop(background, "samples", r.watch.Run)
	r.tasks.Loop(background, "heartbeats", func(ctx context.Context) {
		expireBackends(ctx, r.registry, r.balancer.memory.InUse, r.log)
	})
	r.tasks.Loop(background, "rules", func(ctx context.Context) {
		r.rules.watch(ctx, func(err error) { reportRules(err, r.sinks, r.log) })
	})
	r.tasks.Loop(background, "reload", r.reloads.follow)
	r.tasks.Loop(background, "overload", r.watchOverload)
	r.tasks.Loop(background, "backend rates", func(ctx context.Context) { r.bitrates.follow(ctx, r.group) })
	if r.cluster != nil {
		r.tasks.Loop(background, "reports", r.reportToCluster)
	}
	if r.certificate != nil {
		r.tasks.Loop(background, "certificate", r.watchCertificate)
	}
	r.server.serve()
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

// announce starts what follows the shards, and says that callers get answers.
func (r *relay) announce(background context.Context, before *predecessor) {
	if r.kernel.path != nil {
		r.tasks.Loop(background, "kernel path", func(ctx context.Context) { r.kernel.follow(ctx, r.group) })
	}
	if r.passing != nil {
		r.tasks.Loop(background, "published sessions", func(ctx context.Context) { r.passing.follow(ctx, r.group) })
	}
	r.ledger.start(background, r.tasks, r.group)
	r.state.started.Store(true)
	takeOvers, end := context.WithCancel(background)
	r.takeOvers, r.endTakeOvers = r.supervisor.Tasks(), end
	if before == nil || before.crashed != nil {
		r.startCheckpointer(before.storedNames())
		r.manager.Ready()
		r.takeOvers.Go("take-over", func() { r.giveToSuccessors(takeOvers) })
	} else {
		r.manager.Resume()
		r.probation.Store(before)
		r.takeOvers.Go("take-over", func() { r.settle(takeOvers, before) })
	}
	c := r.config
	r.log.Info("relaying", "version", r.version, "listen", r.group.Addrs(), "api", r.server.addr(),
		"shards", c.Shards, "backends", len(c.Backends), "policy", c.Policy, "state", c.State)
	warnBuffers(r.group, c, r.log)
	warnMemory(os.DirFS("/"), r.group, r.log)
	if err := udp.ReserveFiles(r.files.reserved()); err != nil {
		r.log.Warn("cannot reserve descriptors for upstream sockets", "error", err)
	}
}

// stopTakeOvers ends the take-over that is under way, if there is one, before this process
// stops its sessions: they may be another process's by now, and then parked is set. From here
// on none begins or is committed.
func (r *relay) stopTakeOvers() {
	r.endTakeOvers()
	r.takeOvers.Wait()
}

// stopTasks waits for the tasks, whose context has ended. The event log ends before the
// API shuts down, so that the feed has the ends of the last sessions.
func (r *relay) stopTasks() {
	r.eventLog.Wait()
	r.eventFile.stop()
	limited, cancel := context.WithTimeout(context.Background(), apiShutdownTimeout)
	defer cancel()
	r.server.shutdown(limited)
	r.tasks.Wait()
}
