package shard

import (
	"time"

	"srtrelay/backend"
)

// ratesEvery is how often a shard sums up what its backends carry: often
// enough to part two equally loaded ones, seldom enough to cost nothing.
const ratesEvery = time.Second

// rates is a shard's view of what each backend carries, in bit/s both ways
// together. It is immutable once published.
type rates map[backend.ID]float64

// sumUpRates publishes the rates when they are due.
func (s *Shard) sumUpRates() {
	elapsed := s.now - s.ratesAt
	if elapsed < ratesEvery {
		return
	}
	s.ratesAt = s.now
	s.sumUpQueues()
	if old := s.rates.Load(); len(s.peers) == 0 && (old == nil || len(*old) == 0) {
		return
	}
	all := make(rates, len(s.peers))
	for _, p := range s.peers {
		all[p.id] += float64(p.bytes-p.summed) * 8 / elapsed.Seconds()
		p.summed = p.bytes
	}
	s.rates.Store(&all)
}

// sumUpQueues notes what waits in the kernel, and what it had no room for. Once
// a second: it takes a system call per socket.
func (s *Shard) sumUpQueues() {
	var receive, send int
	s.links(func(l *link, _ int) {
		q := l.sock.Queues()
		receive, send = receive+q.Receive, send+q.Send
		s.counters.add(KernelDrops, uint64(q.Dropped))
	})
	s.counters.local[ReceiveQueued], s.counters.local[SendQueued] = uint64(receive), uint64(send)
}

// Rates returns what each backend carries through all shards at present, in
// bit/s both ways together.
func (g *Group) Rates() map[backend.ID]float64 {
	sum := make(map[backend.ID]float64)
	for _, s := range g.shards {
		if r := s.rates.Load(); r != nil {
			for id, rate := range *r {
				sum[id] += rate
			}
		}
	}
	return sum
}
