package shard

import (
	"fmt"
	"math/bits"
	"slices"
	"time"

	"srtrelay/shard/limit"
	"srtrelay/shard/owners"
	"srtrelay/udp"
)

// Open opens every socket, or takes over those of Config.Adopt; nothing is received before
// Start. Either all sockets are open or, with an error, none.
func Open(cfg Config) (*Group, error) {
	g := &Group{cfg: cfg, broken: make(chan error, 1), backgroundTurn: make(chan struct{}, 1)}
	socks, err := adopt(&g.cfg)
	if err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	if err := g.open(&socks); err != nil {
		g.Close()
		socks.close()
		return nil, err
	}
	return g, nil
}

func (g *Group) open(socks *adopted) error {
	if err := g.cfg.checkIndexes(); err != nil {
		return err
	}
	g.cfg.adoptedGRO = socks.haveGRO()
	if err := g.makeShards(); err != nil {
		return err
	}
	before := socks.bound()
	retired, err := socks.placeListeners(&g.cfg)
	if err != nil {
		return err
	}
	g.fronts = socks.bound()
	for i, at := range g.fronts {
		if at.IsValid() && !retired[i] {
			g.addrs = append(g.addrs, at)
		}
	}
	for i, group := range socks.fronts {
		for k, s := range g.shards {
			if group == nil {
				s.addFront(nil, false, false)
				continue
			}
			s.addFront(group[k], i < len(before) && before[i].IsValid(), retired[i])
		}
	}
	for k, s := range g.shards {
		for _, sock := range socks.upstreams[k] {
			s.addUpstream(sock, true)
		}
		if len(s.backs) > 0 {
			continue
		}
		if err := s.openUpstream(false); err != nil {
			return fmt.Errorf("open upstream socket: %w", err)
		}
	}
	// Noted now: once the loops run, the sockets are theirs.
	g.noteBuffers()
	return nil
}

// makeShards makes the shards, without sockets.
func (g *Group) makeShards() (err error) {
	if g.originAt = g.cfg.Origin; g.originAt == 0 {
		if g.originAt, err = udp.Monotonic(); err != nil {
			return err
		}
	}
	origin, err := udp.AtMonotonic(g.originAt)
	if err != nil {
		return err
	}
	if time.Since(origin) < 0 {
		return fmt.Errorf("the origin of times, %v by CLOCK_MONOTONIC, is in the future", g.originAt)
	}
	if g.cfg.Kernel != nil {
		if err := g.cfg.Kernel.SetOrigin(origin); err != nil {
			return err
		}
	}
	g.sums = limit.NewSums(g.cfg.Shards)
	for id := range g.cfg.Shards {
		s, err := newShard(id, &g.cfg, g.sums, origin, g.originAt)
		if err != nil {
			return err
		}
		s.broken = g.broken
		s.background = g.background
		s.groupStep = &g.step
		if g.cfg.Kernel != nil {
			s.kernel.path = g.cfg.Kernel.Shard(id)
		}
		g.shards = append(g.shards, s)
	}
	g.owners = owners.New(g.cfg.Shards * g.cfg.Places())
	for _, s := range g.shards {
		s.group, s.owners = g.shards, g.owners
		s.others = slices.DeleteFunc(slices.Clone(g.shards), func(other *Shard) bool { return other == s })
	}
	return nil
}

// Reserve makes memory for the sessions that are about to be restored, so many for each
// shard: while a shard restores its callers wait, and most of that time would go into page
// faults. It must be called before Restore and Start. More sessions than the configuration
// allows are not reserved for.
func (g *Group) Reserve(sessions []int) {
	for k, s := range g.shards[:min(len(g.shards), len(sessions))] {
		s.reserve(min(sessions[k], g.cfg.Places()))
	}
}

// reserve makes memory for so many sessions and has the kernel provide it.
func (s *Shard) reserve(n int) {
	s.size(n)
	clear(s.sessions.table.slots)
	s.wheel.timers.Extend(n)
	for i := range uint32(n) {
		*s.wheel.timers.At(i) = timer{}
	}
	for s.sessions.places() < uint64(n) {
		s.sessions.addChunk()
		last := len(s.sessions.chunks) - 1
		clear(s.sessions.chunks[last][:])
		clear(s.sessions.coldChunks[last][:])
	}
	s.sessions.collectFree()
	if s.cfg.Telemetry {
		s.meters.Reserve(n) // hardly any session has media both ways
	}
}

// size makes the tables of a shard without sessions as large as so many need.
func (s *Shard) size(n int) {
	s.sessions.table.size(3 * n)
	s.usage.sources.Reserve(n)
}

// size makes an empty table as large as so many slots need.
func (t *table) size(n int) {
	if want := 1 << bits.Len(uint(n/5*8)); want > len(t.slots) {
		*t = table{slots: make([]slot, want), mask: uint32(want - 1)}
	}
}
