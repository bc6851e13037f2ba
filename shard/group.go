package shard

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"srtrelay/addr"
	"srtrelay/handshake"
	"srtrelay/udp"
)

// Group is the relay's set of shards. All sockets of a listen address are open
// before the first loop runs, and none is closed or added until all end,
// because the kernel spreads flows over the sockets that there are (measured
// on Linux 6.18: closing one of four moved 167 of 300 flows of the others).
type Group struct {
	cfg    Config
	shards []*Shard
	loops  sync.WaitGroup // and what they have others prepare
	// preparing is held while something is prepared for a shard.
	preparing sync.Mutex
	broken    chan error // the first loop that cannot go on says why
	addrs     []netip.AddrPort
	// What the kernel granted a front socket, in bytes.
	grantedRecv, grantedSend int
}

// reinductEvery and reinductRate bound the answers to stale cookies: one per
// source address and port within libsrt's retry interval, and per shard what
// costs a fraction of a core in a flood.
const (
	reinductEvery = 200 * time.Millisecond
	reinductRate  = 2000 // per second
)

// Open opens every socket; nothing is received before Start. Either all
// sockets are open or, with an error, none.
func Open(cfg Config) (*Group, error) {
	if err := cfg.checkIndexes(); err != nil {
		return nil, err
	}
	g := &Group{cfg: cfg, broken: make(chan error, 1)}
	origin := time.Now()
	for id := range cfg.Shards {
		s, err := newShard(id, &g.cfg, origin)
		if err != nil {
			g.Close()
			return nil, err
		}
		s.broken = g.broken
		s.prepare = g.prepare
		g.shards = append(g.shards, s)
	}
	for _, s := range g.shards {
		s.others = slices.DeleteFunc(slices.Clone(g.shards), func(other *Shard) bool { return other == s })
	}
	for _, ap := range cfg.Listen {
		socks, err := udp.OpenFront(ap, cfg.Shards, cfg.Sockets)
		if err != nil {
			g.Close()
			return nil, err
		}
		for i, s := range g.shards {
			s.poller.Add(socks[i])
			s.fronts = append(s.fronts, link{
				sock: socks[i], out: udp.NewOutbox(socks[i]), side: frontSide, index: uint8(len(s.fronts)), hot: true,
			})
		}
	}
	for _, s := range g.shards {
		if err := s.openUpstream(false); err != nil {
			g.Close()
			return nil, fmt.Errorf("open upstream socket: %w", err)
		}
	}
	// Taken down now: once the loops run, the sockets are theirs.
	for _, l := range g.shards[0].fronts {
		g.addrs = append(g.addrs, l.sock.Local())
	}
	g.grantedRecv, g.grantedSend = g.shards[0].fronts[0].sock.GrantedBuffers()
	return g, nil
}

// Close closes the sockets of a group that was never started.
func (g *Group) Close() {
	for _, s := range g.shards {
		s.close()
	}
	g.loops.Wait()
}

// prepare runs fn off the loops, one at a time: shards that all want memory at
// once take one CPU for it.
func (g *Group) prepare(fn func()) {
	g.loops.Go(func() {
		g.preparing.Lock()
		defer g.preparing.Unlock()
		fn()
	})
}

func newShard(id int, cfg *Config, origin time.Time) (*Shard, error) {
	poller, err := udp.NewPoller()
	if err != nil {
		return nil, fmt.Errorf("open poller: %w", err)
	}
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails (crypto/rand, Go 1.24)
	random := rand.New(rand.NewChaCha8(seed))
	s := &Shard{
		id: id, cfg: cfg, origin: origin,
		poller:    poller,
		sizing:    sizing{sizes: udp.BatchSizes(cfg.Batch, cfg.messageSize())},
		table:     newTable(),
		seed:      random.Uint64(),
		jar:       handshake.NewCookieGenerator(cfg.Secret),
		reinduct:  handshake.NewLimiter(reinductEvery, reinductRate),
		recent:    new(handshake.Dedup),
		random:    random,
		sources:   make(map[addr.IP]load),
		late:      make([]int, 0, cfg.Batch),
		returning: make(map[uint32]returning),
		peers:     make(map[addr.AddrPort]*peer),
		scratch:   make([]byte, 0, scratchSize),
	}
	if s.batch, err = s.newBatch(0); err != nil {
		_ = poller.Close()
		return nil, err
	}
	s.fire = s.timeout
	s.stalls.due = never
	s.gather = gatherer{most: cfg.BatchWait, fill: gatherFill * float64(cfg.Batch)}
	// Answers to this many handshakes may be under way at once.
	s.inbox = inbox{max: 2*cfg.MaxHalfOpen + 64, wake: poller.Wake, gone: make(chan struct{})}
	return s, nil
}

// Start runs the loops.
func (g *Group) Start() {
	udp.PreferSession()
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
		s.inbox.insist(func(s *Shard) { s.draining = true })
	}
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return g.live()
		case <-look.C:
			if g.live() == 0 {
				return 0
			}
		}
	}
}

// live counts the sessions that are neither tombstones nor rejected.
func (g *Group) live() uint64 {
	var n uint64
	for _, st := range g.Stats() {
		n += st.Values[Sessions] - st.Values[Tombstones]
	}
	return n
}

// Stop ends every session with SHUTDOWN and returns when all loops have ended
// and all sockets are closed.
//
// The sockets are closed when the last loop has ended: a shard that is done
// sooner, or has panicked, would otherwise move the flows of those that still
// tell their sessions.
func (g *Group) Stop() {
	for _, s := range g.shards {
		s.inbox.insist((*Shard).stop)
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

// Addrs returns the addresses listened on, with the ports that the kernel gave.
func (g *Group) Addrs() []netip.AddrPort { return g.addrs }

// GrantedBuffers returns the receive and send buffers, in bytes, that the
// kernel granted to a front socket.
func (g *Group) GrantedBuffers() (recv, send int) { return g.grantedRecv, g.grantedSend }
