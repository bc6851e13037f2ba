package shard

import (
	"fmt"
	"time"

	"srtrelay/pool"
	"srtrelay/udp"
)

// pace chooses between receiving again at once, letting datagrams gather
// first, and asking the poller.
func (s *Shard) pace() {
	if s.batchFull {
		return // a full batch: there is more to fetch
	}
	now := time.Since(s.origin)
	d, worth := s.gather.wait(now)
	switch {
	case !worth:
		s.wait()
	case d > 0:
		s.counters.inc(CountGatherings)
		s.beginWait(now)
		s.poller.Pause(d)
	}
}

const (
	// gatherLeast is how many datagrams must be expected in a full wait to make
	// it worthwhile: fewer save no more calls than the wait itself costs.
	gatherLeast = 4
	// gatherFill is the part of a batch to wait for. After a full batch another
	// receive call follows at once, perhaps for very little; the rest of the
	// batch is left for datagrams that come sooner than expected.
	gatherFill = 0.75
	// gatherShortest is the shortest wait that a timer can make.
	gatherShortest = 10 * time.Microsecond
)

// gatherer decides how long the loop lets datagrams gather before it receives
// again. At a steady rate the work per turn is mostly fixed (system calls, the
// switch to this thread and back), so that fewer and fuller turns cost less;
// and longer batches make longer superpackets. It belongs to one shard.
type gatherer struct {
	maxWait time.Duration // the longest wait; 0 for none
	target  float64       // datagrams worth waiting for

	turn     time.Duration // the last turn began
	received uint64        // by then
	expected float64       // datagrams in a wait of length most, smoothed
}

// begin notes a turn that begins at now, when received datagrams have come in
// all.
func (g *gatherer) begin(now time.Duration, received uint64) {
	gap, n := now-g.turn, received-g.received
	g.turn, g.received = now, received
	if gap > 0 && g.maxWait > 0 {
		// Smoothed over four waits: not taken in by one burst, and forgotten
		// with the first turn after a silence.
		waits := float64(gap) / float64(g.maxWait)
		g.expected += (float64(n)/waits - g.expected) * min(waits/4, 1)
	}
}

// wait returns how long to wait from now on, 0 for not at all. worth says
// whether there is traffic enough to receive again without asking the poller.
func (g *gatherer) wait(now time.Duration) (d time.Duration, worth bool) {
	if g.maxWait == 0 || g.expected < gatherLeast {
		return 0, false
	}
	d = g.maxWait
	if g.expected > g.target {
		d = time.Duration(float64(d) * g.target / g.expected)
	}
	if d -= now - g.turn; d < gatherShortest {
		return 0, true
	}
	return d, true
}

const (
	// sizingQuiet is how long a batch must have been too large before it
	// shrinks: a publisher's bursts, such as its key frames, come more often.
	sizingQuiet = 10 * time.Second
	// sizingRetry is how soon memory is asked for again after there was none.
	sizingRetry = 10 * time.Second
)

// sizing decides how many messages a batch has, because they take memory whether used
// or not. The batch doubles when a receive call returns full; what did not fit waits
// in the socket's buffer. It belongs to one shard.
type sizing struct {
	sizes    []int // that a batch may have, ascending
	current  int   // index in sizes
	changing bool  // another size is being prepared
	peak     int   // most messages of a call since reviewed
	// reviewed is when a smaller size was last considered, retry before when a
	// larger one is not asked for.
	reviewed, retry time.Duration
}

// next returns the index of the size that the batch should have.
func (z *sizing) next(now time.Duration) int {
	switch {
	case z.changing:
	case z.peak >= z.sizes[z.current] && z.current+1 < len(z.sizes) && now >= z.retry:
		return z.current + 1
	case now >= z.reviewed+sizingQuiet:
		k := 0
		for k < z.current && z.sizes[k] < 2*z.peak {
			k++
		}
		z.reviewed, z.peak = now, 0
		return k
	}
	return z.current
}

// due returns when next could find a smaller size though nothing arrives.
func (z *sizing) due() (time.Duration, bool) {
	return z.reviewed + sizingQuiet, z.current > 0 && !z.changing
}

// changed notes the size that the batch has from now on.
func (z *sizing) changed(to int, now time.Duration) {
	z.current, z.changing, z.peak, z.reviewed = to, false, 0, now
}

// failed notes that there was no memory for another size.
func (z *sizing) failed(now time.Duration) { z.changing, z.retry = false, now+sizingRetry }

// messageSize is how long a message may be: a train may arrive at any time
// where the sockets have GRO, and what does not fit is lost.
func (c *Config) messageSize() int {
	if c.Sockets.GRO || c.adoptedGRO {
		return pool.TrainSize
	}
	return pool.SingleSize
}

// MemoryMost returns what the shards' batches and the receive buffers of their
// sockets can take at their largest, in bytes. The kernel keeps twice the size
// that a buffer was granted (socket(7)).
func (g *Group) MemoryMost() (batches, buffers int) {
	batches = g.cfg.Shards * udp.BatchBytes(g.cfg.Batch, g.cfg.messageSize())
	return batches, g.cfg.Shards * (len(g.fronts) + 1) * 2 * int(g.grantedRecv.Load())
}

// resizeBatch has the batch grow or shrink. Other goroutines map and unmap the memory,
// because either may take milliseconds; meanwhile the shard uses its present batch.
func (s *Shard) resizeBatch() {
	to := s.sizing.next(s.now)
	if to == s.sizing.current {
		return
	}
	s.sizing.changing = true
	s.background(func() {
		batch, err := s.newBatch(to)
		if err != nil {
			s.cfg.Log.Warn("cannot change the size of a batch", "shard", s.id,
				"datagrams", s.sizing.sizes[to], "error", err, "retry", sizingRetry)
		}
		if !s.inbox.postAlways(func(s *Shard) { s.swapBatch(to, batch, err) }) && err == nil {
			_ = batch.Close()
		}
	})
}

// newBatch maps a batch of one of the sizes. Any goroutine may call it.
func (s *Shard) newBatch(k int) (batch *udp.Batch, err error) {
	if k == 0 {
		batch, err = udp.NewIdleBatch(s.sizing.sizes[k], s.cfg.messageSize())
	} else {
		batch, err = udp.NewBatch(s.sizing.sizes[k], s.cfg.messageSize())
	}
	if err != nil {
		return nil, fmt.Errorf("map %d messages: %w", s.sizing.sizes[k], err)
	}
	return batch, nil
}

// swapBatch replaces the batch between two turns, when nothing refers to its
// datagrams.
func (s *Shard) swapBatch(to int, batch *udp.Batch, err error) {
	if err != nil {
		s.sizing.failed(s.now)
		return
	}
	old := s.batch
	s.batch = batch
	s.sizing.changed(to, s.now)
	s.background(func() { _ = old.Close() })
}
