package shard

import (
	"math/bits"
)

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
	clear(s.wheel.timers[:cap(s.wheel.timers)])
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
	if cap(s.wheel.timers) < n {
		s.wheel.timers = make([]timer, 0, n)
		s.usage.sources.Reserve(n)
	}
}

// size makes an empty table as large as so many slots need.
func (t *table) size(n int) {
	if want := 1 << bits.Len(uint(n/5*8)); want > len(t.slots) {
		*t = table{slots: make([]slot, want), mask: uint32(want - 1)}
	}
}
