package shard

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/internal/supervise"
	"srtrelay/shard/kernelpath"
	"srtrelay/shard/limit"
	"srtrelay/shard/owners"
	"srtrelay/shard/relays"
	"srtrelay/streamid/rules"
	"srtrelay/udp"
)

// Config is what a Group is made of. It is not changed after Open.
type Config struct {
	// Listen are the addresses callers dial, at least one.
	Listen []netip.AddrPort
	// Shards is the number of workers, fixed for life: closing or adding a
	// socket of a SO_REUSEPORT group moves the flows of all others.
	Shards int
	// CPUs are the processors the shards are pinned to, in turn; none leaves
	// them to the scheduler.
	CPUs []int
	// Batch is the most datagrams (or trains) per receive call.
	Batch int
	// BatchWait is the longest time a shard lets datagrams gather before it
	// receives again, under load only; 0 for never.
	BatchWait time.Duration
	// Sockets says what every socket is opened with.
	Sockets udp.Options
	// Adopt are the sockets to take over from another process instead of opening any: all
	// that its Group.Sockets listed, with as many shards. Open owns their descriptors, also
	// after an error. Listeners that are not among them are opened.
	Adopt      []Socket
	adoptedGRO bool // trains may arrive there, whatever Sockets says
	// Origin is time 0 of the shards by CLOCK_MONOTONIC: that of the group to take over
	// from (Group.Origin), so that times mean the same in both. 0 is now.
	Origin time.Duration
	// UpstreamPorts is the most local ports per shard and address family
	// towards backends. More than one is used only where sessions collide.
	UpstreamPorts int

	// Caps per shard: sessions in any state, half-open handshakes, and
	// half-open handshakes of one caller's IP address (IPv6: of one /64), of which 0 is no limit.
	MaxSessions, MaxHalfOpen, MaxHalfOpenPerSource int
	// MaxSessionsPerSource is the cap of sessions in any state of one caller's
	// IP address (IPv6: of one /64), of all shards together; 0 for none, as in all
	// that follow. MaxConnectsPerSource and MaxBitratePerSource see limit.SourceLimits.
	MaxSessionsPerSource, MaxConnectsPerSource int
	MaxBitratePerSource                        int64
	// Subnet are the limits of a /24 (IPv6: a /56), Stream those of a stream. The rules
	// may have others.
	Subnet limit.SourceLimits
	Stream limit.StreamLimits
	// LimitGrace is how long a publisher may be above its bitrate, LimitBlock for how
	// long publishers of its stream are rejected after that.
	LimitGrace, LimitBlock time.Duration
	// IdleTimeout ends a session without a datagram either way.
	IdleTimeout time.Duration
	// BackendSilence ends a session whose caller sends and whose backend is
	// silent; see silenceLimit.
	BackendSilence time.Duration
	// Shield has control packets and handshakes dropped that no peer sends (package shield).
	Shield bool

	// Migration has sessions follow their callers to other addresses.
	Migration bool

	// Telemetry has the quality of every session measured.
	Telemetry bool

	// Secret is what the SYN cookies derive from.
	Secret handshake.Secret
	// SharedSecrets are those that relays behind one address share. Nil has none.
	SharedSecrets *handshake.SharedSecrets
	// Registry gives the present snapshot, one atomic load per turn.
	Registry *backend.Registry
	// Resolver chooses backends, off the loop.
	Resolver Resolver
	// Rules publishes the operator's rules for stream IDs, which are read once per
	// CONCLUSION. Nil has no rules.
	Rules *rules.Live
	// Events receives what happens to sessions. When it is full, the event is
	// counted as lost. Nil sends none. They are pointers, because all places of
	// a channel keep their memory once as many events have passed.
	Events chan<- *Event
	// Log receives what happens to the shards themselves, never to a datagram.
	Log *slog.Logger
	// Kernel relays the datagrams of established sessions in the kernel, with a part for
	// each shard and Places sessions to each. Nil has all relayed by the shards.
	Kernel *kernelpath.Path
	// Relays passes datagrams of sessions that other relays have on to these. Nil drops
	// them.
	Relays *relays.Link
	// Supervisor recovers panics of what runs in the background for the shards, not
	// those of the shards. Nil recovers none.
	Supervisor *supervise.Supervisor
}

// Places is how many sessions a shard may have memory for.
func (c *Config) Places() int { return (c.MaxSessions + chunkSize - 1) &^ chunkMask }

// endpointLimit is the most sockets of one side, because a session keeps the index in
// one byte.
const endpointLimit = math.MaxUint8 + 1

// checkIndexes checks that a session's indexes can name all sessions and sockets.
func (c *Config) checkIndexes() error {
	const families = 2 // upstream sockets are opened per address family
	switch {
	case c.MaxSessions > indexLimit:
		return fmt.Errorf("at most %d sessions per shard, not %d", indexLimit, c.MaxSessions)
	case len(c.Listen) > endpointLimit:
		return fmt.Errorf("at most %d listen addresses, not %d", endpointLimit, len(c.Listen))
	case c.Shards > owners.ShardLimit:
		return fmt.Errorf("at most %d shards, not %d", owners.ShardLimit, c.Shards)
	case c.UpstreamPorts > endpointLimit/families:
		return fmt.Errorf("at most %d upstream ports, not %d", endpointLimit/families, c.UpstreamPorts)
	}
	return nil
}

// Resolver chooses backends. The loop calls it, so that no method may block.
type Resolver interface {
	// Resolve accepts a query and later calls done once, from another goroutine.
	// False: it is busy, and done will not be called. If done returns false the
	// session is gone, and the lease of the answer ends.
	Resolve(q backend.Query, done func(backend.Target, error) bool) bool
	// Report says what became of a lease. Every fate but backend.FateBegan returns
	// it. False: it is busy, and the shard reports again later.
	Report(o backend.Outcome) bool
	// Unreachable says that a backend is silent or, if certain, that nobody
	// listens there. Best effort.
	Unreachable(id backend.ID, certain bool)
}

// Group is the relay's set of shards. All sockets of a listen address are open
// before the first loop runs, and none is closed or added until all end,
// because the kernel spreads flows over the sockets that there are (measured
// on Linux 6.18: closing one of four moved 167 of 300 flows of the others).
type Group struct {
	cfg    Config
	shards []*Shard
	loops  sync.WaitGroup // and what runs in the background for them
	owners *owners.Owners
	// backgroundTurn has an element while a background function runs, or while none may.
	backgroundTurn chan struct{}
	broken         chan error // the first loop that cannot go on says why
	// fronts are the addresses of the front sockets by index; the zero value where there
	// is none.
	fronts   []netip.AddrPort
	addrs    []netip.AddrPort // without retired ones
	originAt time.Duration

	recorded atomic.Bool   // there is a session ledger
	step     atomic.Uint32 // an overload.Step
	sums     *limit.Sums   // of sources and streams

	freezeMu  sync.Mutex
	freeze    *freeze     // nil while the loops run
	restored  atomic.Bool // some shard has been
	abandoned bool
	// What the kernel granted a front socket, in bytes.
	grantedRecv, grantedSend atomic.Int64
}

// Close closes the sockets of a group that was never started. If it has taken them over, it
// sends nothing: the sessions are another process's still.
func (g *Group) Close() {
	if len(g.cfg.Adopt) > 0 || g.abandoned {
		g.Abandon()
		return
	}
	for _, s := range g.shards {
		s.close()
	}
	g.loops.Wait()
}

// background runs fn off the loops, one at a time: shards that all need memory at once
// use one CPU for it. If fn panics the shard goes on with the memory that it has.
func (g *Group) background(fn func()) {
	g.loops.Go(func() {
		g.backgroundTurn <- struct{}{}
		defer func() { <-g.backgroundTurn }()
		_ = g.cfg.Supervisor.Protect("shard memory", fn) // the log has the panic
	})
}

// Start runs the loops. If shards have been restored, the sockets of retired listeners
// without sessions are closed.
func (g *Group) Start() {
	udp.PreferSession()
	if g.cfg.Kernel != nil {
		g.cfg.Kernel.Start()
	}
	if g.restored.Load() {
		g.closeUnused()
	}
	for _, s := range g.shards {
		g.loops.Go(s.run)
	}
}

// Broken yields an error when a shard cannot go on; a *PanicError if it has
// panicked. The relay is then to be stopped: the callers of that shard are
// served by nobody, and those of the others are told by Stop.
func (g *Group) Broken() <-chan error { return g.broken }

// Drain makes every shard refuse new callers and waits until no session is
// left, or ctx ends. It returns the number of sessions left.
func (g *Group) Drain(ctx context.Context) uint64 {
	for _, s := range g.shards {
		s.inbox.postAlways(func(s *Shard) { s.draining = true })
	}
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return g.Live()
		case <-look.C:
			if g.Live() == 0 {
				return 0
			}
		}
	}
}

// Live counts the sessions that are neither tombstones nor rejected.
func (g *Group) Live() uint64 {
	var n uint64
	for _, st := range g.Stats() {
		n += st.Values[CountSessions] - st.Values[CountTombstones]
	}
	return n
}

// Stop ends every session with SHUTDOWN and returns when all loops have ended
// and all sockets are closed. Frozen loops go on for it.
//
// The sockets are closed when the last loop has ended: a shard that is done
// sooner, or has panicked, would otherwise move the flows of those that still
// tell their sessions.
func (g *Group) Stop() {
	g.Resume()
	for _, s := range g.shards {
		s.inbox.postAlways((*Shard).beginStop)
	}
	g.loops.Wait()
	for _, s := range g.shards {
		s.closeSockets()
	}
}

// Stats copies the counters of every shard.
func (g *Group) Stats() []Stats {
	all := make([]Stats, len(g.shards))
	for i, s := range g.shards {
		all[i] = s.counters.Read(i)
	}
	return all
}

// Usage returns the sums of what the shards have published of sources and streams: up to two
// seconds old, with 100,000 sessions per shard some seconds.
func (g *Group) Usage() *limit.Totals { return g.sums.Totals() }

// Addrs returns the addresses listened on, with the ports that the kernel gave; without
// those of retired listeners.
func (g *Group) Addrs() []netip.AddrPort { return g.addrs }

// Fronts returns the addresses of the front sockets by the index that sessions and the
// records of the session ledger have, also those of retired listeners. The zero value is an
// index that is not in use.
func (g *Group) Fronts() []netip.AddrPort { return g.fronts }

// Origin is time 0 of the shards by CLOCK_MONOTONIC.
func (g *Group) Origin() time.Duration { return g.originAt }

// GrantedBuffers returns the receive and send buffers, in bytes, that the
// kernel granted to a front socket.
func (g *Group) GrantedBuffers() (recv, send int) {
	return int(g.grantedRecv.Load()), int(g.grantedSend.Load())
}
