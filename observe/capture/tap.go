package capture

import (
	"sync/atomic"
	"time"

	"srtrelay/wire"
)

// SnapLength is the most that is kept of a datagram: all that an Ethernet MTU
// lets through, and so all that SRT sends unless told to use jumbo frames.
const SnapLength = 2048

// Tap is a shard's end of a capture. It belongs to the shard's loop from the
// moment that the shard is given it.
type Tap struct {
	payload bool
	rate    Limiter
	ring    ring
	bell    *bell

	// What was left out, by leg: the loop counts, commit publishes.
	full, limited [2]uint64
	unpublished   bool

	_      [64]byte
	public struct{ full, limited [2]atomic.Uint64 }
	ended  atomic.Bool
}

func newTap(k Keep, size int, b *bell) *Tap {
	return &Tap{payload: k.Payload, rate: NewLimiter(k.Rate), ring: newRing(size), bell: b}
}

// Copy keeps a datagram, or counts that it could not. It never waits and
// allocates nothing.
func (t *Tap) Copy(at time.Duration, how How, e *Ends, p []byte) {
	if !t.rate.Allow(at) {
		t.count(&t.limited, how)
		return
	}
	if !t.ring.put(at, how, e, len(p), p[:t.kept(p)]) {
		t.count(&t.full, how)
	}
}

// kept is how many bytes of a datagram are kept.
func (t *Tap) kept(p []byte) int {
	n := min(len(p), SnapLength)
	if !t.payload && n > wire.HeaderSize && !wire.Packet(p).IsControl() {
		return wire.HeaderSize
	}
	return n
}

func (t *Tap) count(c *[2]uint64, how How) {
	t.unpublished = true
	if how&Received != 0 {
		c[how.From()]++
	}
	if how&Sent != 0 {
		c[how.To()]++
	}
}

// Commit hands over what was copied since the last time, once per turn.
func (t *Tap) Commit() {
	if t.unpublished {
		t.unpublished = false
		for l := range t.full {
			t.public.full[l].Store(t.full[l])
			t.public.limited[l].Store(t.limited[l])
		}
	}
	if t.ring.commit() {
		t.bell.ring()
	}
}

// End says that nothing more will come. It is the last call.
func (t *Tap) End() {
	t.Commit()
	t.ended.Store(true)
	t.bell.ring()
}
