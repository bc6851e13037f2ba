// Package relay is the composition root. It opens the parts of a relay, connects them,
// runs them until a signal or a failure, and closes them in order. It writes events to
// the log and the feed. How a part works is in the part's own package.
//
// start.go starts a relay, drain.go waits for its end, process.go has the signals. giver.go and
// taker.go are this process's two roles in a take-over (package takeover), which upgrade.go
// begins. checkpoint.go and descriptorstore.go keep what outlives a crash, crash.go goes on with
// it, and ledger.go tells the callers if nothing does. reload.go reads the configuration again.
// cluster.go and cookies.go have what relays share, passon.go the datagrams of other relays.
package relay

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"sync/atomic"
	"time"

	"srtrelay/api"
	"srtrelay/backend"
	"srtrelay/backend/probe"
	"srtrelay/balancer"
	"srtrelay/config"
	"srtrelay/internal/supervise"
	"srtrelay/observe/capture/pcapng"
	"srtrelay/observe/cluster"
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

	reloads      *reloads
	rules        *ruleFile
	registry     *backend.Registry
	files        filePlan
	cookies      *cookieSecrets
	bitrates     *bitrates
	balancer     selectedBalancer
	prober       *probe.Prober
	resolver     *balancer.Resolver
	passing      *passing // nil without --cluster-listen
	events       chan *shard.Event
	group        *shard.Group
	kernel       kernelPath
	sinks        eventSinks
	eventFile    *eventFile
	quality      *metrics.Quality
	watch        *streams.Watch
	cluster      *cluster.View // nil without a shared state
	recorder     *pcapng.Recorder
	overload     *overloadMonitor
	state        *readiness
	certificate  *api.Certificate // nil without TLS
	connections  *api.Connections
	logins       *api.Logins
	server       apiServer
	ledger       *sessionLedger
	checkpointer *checkpointer // nil without a descriptor store
	closedUntil  time.Time     // until then ports may be held by what was kept and is closed

	gate       handoverGate  // before what changes the relay for good
	handedOver chan struct{} // closed when another process has taken over
	inherited  bool          // the service manager is known from the process before only
	successor  atomic.Int64  // its PID
	parked     atomic.Bool   // another process serves callers, and is in its probation
	crashing   bool          // the next process goes on with the sessions
	// probation is the process that goes on if this one fails; nil once it has left.
	probation atomic.Pointer[predecessor]

	// tasks end with the background context. eventLog ends first, so that the API can
	// still serve the last events. takeOvers end even before the sessions do.
	tasks, eventLog, takeOvers *supervise.Tasks
	endTakeOvers               context.CancelFunc
}

// run opens the relay and runs it until ctx ends, or until drain is closed and then all
// sessions have ended or the grace is over.
func run(ctx context.Context, drain <-chan struct{}, c config.Config, p process) error {
	r := &relay{config: c, process: p, handedOver: make(chan struct{})}
	defer r.close()
	if err := r.open(); err != nil {
		return &startError{err}
	}
	background, end := context.WithCancel(context.Background())
	defer end()
	if err := r.start(ctx, background); err != nil {
		end()
		r.tasks.Wait()
		return &startError{err}
	}
	err := r.wait(ctx, drain)
	if before := r.probation.Load(); before != nil && err != nil {
		// No SHUTDOWNs: the sessions go on there. It kills this process first.
		before.taker.Abandon(err)
		return err
	}
	r.stopTakeOvers()
	if r.parked.Load() {
		r.leave(end)
		r.waitInPod(ctx, drain)
		return nil
	}
	if r.survives(err) {
		r.crash(end)
		return err
	}
	r.manager.Stopping(stopTimeout)
	r.checkpointer.forget()
	r.group.Stop()
	r.passing.stop()
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
	r.checkpointer.close()
	r.log.Info("stopped")
	return err
}

// open opens every part that has no socket. After an error the caller only has to call
// close.
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
	if r.cookies, err = openCookieSecrets(r.config); err != nil {
		return err
	}
	name := func() string { return nameOf(*r.reloads.current.Load()) }
	r.balancer = openBalancer(r.registry, r.config, r.bitrates, name, r.cookies.setRedis, r.process)
	r.passing = openPassing(r.config, r.balancer.shared, r.cookies.live, r.process)
	r.prober = probe.New(r.registry, r.log)
	r.prober.Supervisor = r.supervisor
	r.resolver = balancer.NewResolver(r.balancer, r.backendRefused, r.prober.Revive, r.supervisor)
	r.events = make(chan *shard.Event, eventQueueSize)
	return nil
}

// openSockets opens the shards and the API, or takes over those of before. Callers get no
// answer yet. After an error nothing is open.
func (r *relay) openSockets(before *predecessor) (err error) {
	if err := r.passing.open(before != nil); err != nil {
		return err
	}
	if r.group, r.kernel, err = r.openGroup(before); err != nil {
		r.passing.stop()
		return err
	}
	if err := r.openAPI(before); err != nil {
		r.closeSockets()
		return err
	}
	return nil
}

// closeSockets closes what openSockets has opened. What was to be taken over stays the other
// process's.
func (r *relay) closeSockets() {
	r.group.Close()
	r.passing.stop()
	r.kernel.undo()
}

// openAPI binds the address of the API. It fails if a backend is the relay itself.
func (r *relay) openAPI(before *predecessor) (err error) {
	r.registry.SetOwnAddrs(r.group.Addrs()...)
	if b, found := r.registry.FindOwn(); found {
		return fmt.Errorf("--backend: %q is %s, where the relay itself listens", b.Host, b.Addr)
	}
	r.quality, r.sinks = metrics.NewQuality(), newEventSinks()
	if r.eventFile, err = openEventFile(r.config, r.log); err != nil {
		return fmt.Errorf("--event-log: %w", err)
	}
	r.watch = streams.New(r.group, r.quality, r.log)
	if r.balancer.shared != nil {
		r.cluster = cluster.New(r.balancer.shared, r.log)
	}
	r.recorder = pcapng.NewRecorder(r.group, "srtrelay "+r.version)
	r.overload = newOverloadMonitor(r, r.followOverload)
	r.state = &readiness{
		registry: r.registry, shared: r.balancer.shared, lines: r.lines, overload: r.overload,
	}
	r.state.withoutBackends.Store(r.config.ReadyWithoutBackends)
	if err := r.openCertificate(); err != nil {
		return err
	}
	r.connections, r.logins = api.NewConnections(r.files.apiConnections()), api.NewLogins()
	r.server.tasks, r.server.log = r.tasks, r.log
	return r.server.open(r.newServer(), r.config.API, before.apiPort(r.config.API))
}

// close closes the parts that have no context.
func (r *relay) close() {
	if r.resolver != nil {
		r.resolver.Close()
		r.balancer.close(r.parked.Load() || r.crashing)
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
