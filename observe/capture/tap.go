package capture

import (
	"sync/atomic"
	"time"

	"srtrelay/internal/tokenbucket"
	"srtrelay/wire"
)

// SnapLength is the most that is copied of a datagram. It is more than an Ethernet MTU, so
// only jumbo frames are cut.
const SnapLength = 2048

// Tap is the shard's end of a capture. It belongs to the shard's loop.
type Tap struct {
	payload bool
	rate    tokenbucket.Bucket
	ring    ring
	bell    *bell

	// Datagrams left out, by leg: the loop counts, Commit publishes.
	full, limited [2]uint64
	unpublished   bool

	_      [64]byte
	public struct{ full, limited [2]atomic.Uint64 }
	ended  atomic.Bool
}

func newTap(k Keep, size int, b *bell) *Tap {
	return &Tap{payload: k.Payload, rate: newBucket(k.Rate), ring: newRing(size), bell: b}
}

// Copy adds a datagram to the ring, or counts it as left out. It never blocks and does not
// allocate.
func (t *Tap) Copy(at time.Duration, how How, e *Ends, p []byte) {
	if !t.rate.Take(at) {
		t.count(&t.limited, how)
		return
	}
	if !t.ring.put(at, how, e, len(p), p[:t.kept(p)]) {
		t.count(&t.full, how)
	}
}

// kept returns how many bytes of a datagram are copied.
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

// Commit makes the datagrams copied since the last call visible to the reader. The shard
// calls it once per turn.
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

// End marks the tap as ended. It is the last call.
func (t *Tap) End() {
	t.Commit()
	t.ended.Store(true)
	t.bell.ring()
}

// bell wakes the reader. Ringing costs a shard one atomic load unless the reader sleeps.
// The reader arms the bell before each sleep, so a busy shard does not wake it each turn.
type bell struct {
	armed atomic.Bool
	rung  chan struct{}
}

func newBell() *bell { return &bell{rung: make(chan struct{}, 1)} }

// ring wakes the reader if it sleeps. It never blocks: the channel holds one signal, and an
// old signal wakes the reader as well.
func (b *bell) ring() {
	if b.armed.Load() && b.armed.CompareAndSwap(true, false) {
		select {
		case b.rung <- struct{}{}:
		default:
		}
	}
}

// arm must be called before the reader checks for records the last time. Reader only.
func (b *bell) arm() {
	select {
	case <-b.rung:
	default:
	}
	b.armed.Store(true)
}
