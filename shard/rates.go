package shard

import (
	"time"

	"srtrelay/backend"
)

// ratesEvery is how often a shard publishes its backends' rates: often enough for the
// balancer, seldom enough to cost nothing.
const ratesEvery = time.Second

// rates is what a shard relays for each backend, in bit/s both ways together. It is
// immutable once published.
type rates map[backend.ID]float64

// measure publishes the rates and reads the queues once per ratesEvery.
func (s *Shard) measure() {
	elapsed := s.now - s.peers.ratesAt
	if elapsed < ratesEvery {
		return
	}
	s.peers.ratesAt, s.receivedAtRates = s.now, s.counters.received()
	s.readQueueStats()
	s.peers.publishRates(elapsed)
}

// publishRates publishes the rates over the time since they were last published.
func (ps *peers) publishRates(elapsed time.Duration) {
	if old := ps.rates.Load(); len(ps.byAddr) == 0 && (old == nil || len(*old) == 0) {
		return
	}
	all := make(rates, len(ps.byAddr))
	for _, p := range ps.byAddr {
		all[p.id] += float64(p.bytes-p.ratedBytes) * 8 / elapsed.Seconds()
		p.ratedBytes = p.bytes
	}
	ps.rates.Store(&all)
}

// readQueueStats counts what waits in the sockets' buffers, and what the kernel has
// dropped there. It takes a system call per socket.
func (s *Shard) readQueueStats() {
	var receive, send int
	s.eachEndpoint(func(ep *endpoint, _ int) {
		q := ep.sock.Queues()
		receive, send = receive+q.Receive, send+q.Send
		s.counters.add(CountKernelDrops, uint64(q.Dropped))
	})
	s.counters.local[CountReceiveQueued], s.counters.local[CountSendQueued] = uint64(receive), uint64(send)
}

// Rates returns what all shards relay for each backend at present, in bit/s both ways
// together.
func (g *Group) Rates() map[backend.ID]float64 {
	sum := make(map[backend.ID]float64)
	for _, s := range g.shards {
		if r := s.peers.rates.Load(); r != nil {
			for id, rate := range *r {
				sum[id] += rate
			}
		}
	}
	return sum
}
