package shard

import (
	"fmt"
	"time"

	"srtrelay/pool"
	"srtrelay/udp"
)

const (
	// sizingQuiet is how long a batch must have been too large before it
	// shrinks: a publisher's bursts, such as its key frames, come more often.
	sizingQuiet = 10 * time.Second
	// sizingRetry is how soon memory is asked for again after there was none.
	sizingRetry = 10 * time.Second
)

// sizing decides how many messages a receive call may bring, because the memory
// of a batch is that of its messages, used or not. It doubles when a call comes
// back full; what did not fit waits in the socket's buffer. It belongs to one
// shard.
type sizing struct {
	sizes   []int // that a batch may have, ascending
	present int   // index in sizes
	changes bool  // another size is being prepared
	peak    int   // most messages of a call since reviewed
	// reviewed is when a smaller size was last considered, retry before when a
	// larger one is not asked for.
	reviewed, retry time.Duration
}

// next returns the index of the size that the batch should have.
func (z *sizing) next(now time.Duration) int {
	switch {
	case z.changes:
	case z.peak >= z.sizes[z.present] && z.present+1 < len(z.sizes) && now >= z.retry:
		return z.present + 1
	case now >= z.reviewed+sizingQuiet:
		k := 0
		for k < z.present && z.sizes[k] < 2*z.peak {
			k++
		}
		z.reviewed, z.peak = now, 0
		return k
	}
	return z.present
}

// due returns when next could find a smaller size though nothing arrives.
func (z *sizing) due() (time.Duration, bool) {
	return z.reviewed + sizingQuiet, z.present > 0 && !z.changes
}

// changed notes the size that the batch has from now on.
func (z *sizing) changed(to int, now time.Duration) {
	z.present, z.changes, z.peak, z.reviewed = to, false, 0, now
}

// failed notes that there was no memory for another size.
func (z *sizing) failed(now time.Duration) { z.changes, z.retry = false, now+sizingRetry }

// messageSize is how long a message may be: a train may arrive at any time
// where the sockets have GRO, and what does not fit is lost.
func (c *Config) messageSize() int {
	if c.Sockets.GRO {
		return pool.TrainSize
	}
	return pool.SingleSize
}

// MemoryMost returns what the shards' batches and the receive buffers of their
// sockets can take at their largest, in bytes. The kernel keeps twice the size
// that a buffer was granted (socket(7)).
func (g *Group) MemoryMost() (batches, buffers int) {
	batches = g.cfg.Shards * udp.BatchBytes(g.cfg.Batch, g.cfg.messageSize())
	return batches, g.cfg.Shards * (len(g.cfg.Listen) + 1) * 2 * g.grantedRecv
}

// sizeBatch has the batch grow and shrink. The memory is mapped and given back
// by other goroutines, for either may take milliseconds; meanwhile the shard
// goes on with the batch that it has.
func (s *Shard) sizeBatch() {
	to := s.sizing.next(s.now)
	if to == s.sizing.present {
		return
	}
	s.sizing.changes = true
	s.prepare(func() {
		batch, err := s.newBatch(to)
		if err != nil {
			s.cfg.Log.Warn("cannot change the size of a batch", "shard", s.id,
				"datagrams", s.sizing.sizes[to], "error", err, "retry", sizingRetry)
		}
		if !s.inbox.insist(func(s *Shard) { s.useBatch(to, batch, err) }) && err == nil {
			_ = batch.Close()
		}
	})
}

// newBatch makes a batch of one of the sizes. Any goroutine.
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

// useBatch exchanges the batch between two turns, when nothing refers to its
// datagrams.
func (s *Shard) useBatch(to int, batch *udp.Batch, err error) {
	if err != nil {
		s.sizing.failed(s.now)
		return
	}
	old := s.batch
	s.batch = batch
	s.sizing.changed(to, s.now)
	s.prepare(func() { _ = old.Close() })
}
