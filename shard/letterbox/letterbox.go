// Package letterbox is the queue in which datagrams wait for the shard that owns their session. It
// is bounded in letters and in bytes, and never makes a sender wait for its reader.
//
// It must not know what a session is, nor count what becomes of a letter.
package letterbox

import (
	"iter"
	"sync"
	"sync/atomic"

	"srtrelay/addr"
)

// A Letter is a datagram from a caller that another goroutine hands to the loop of the shard
// that owns its session: another shard, which the kernel's flow hash chose for it, or the
// receiver of what another relay passes on.
type Letter struct {
	From   addr.AddrPort
	Local  addr.IP
	Sender int16 // the shard that received it, or OtherRelay
	Front  uint8 // the listener's index
}

// OtherRelay is the sender of a letter that came from another relay.
const OtherRelay = -1

// Posting is a letter on its way to a shard. Its bytes are the sender's until a box has copied
// them.
type Posting struct {
	To int
	Letter
	Data []byte
}

const (
	// Limit and BytesLimit bound what waits in a box: what a shard receives in 100 ms of
	// 500 Mbit/s.
	Limit      = 4096
	BytesLimit = 6 << 20
	// relayPart is the part of both for other relays: a flood from them leaves the rest
	// for the other shards.
	relayPart = 2 // half
	// keptBytes is the memory that an empty batch keeps.
	keptBytes = 256 << 10
)

// Box is a bounded queue of letters to one shard. Those of one sender stay in order.
type Box struct {
	hasLetters atomic.Bool
	mu         sync.Mutex
	batch      Batch
	wake       func()
	closed     bool
}

// New returns a box that calls wake when its shard has letters to take.
func New(wake func()) *Box { return &Box{wake: wake} }

// Put queues copies of letters, and returns those that it refuses, in the memory of run. It takes
// one lock for all.
func (b *Box) Put(run []Posting) (refused []Posting) {
	refused = run[:0]
	b.mu.Lock()
	for _, p := range run {
		if !b.put(&p, 1) {
			refused = append(refused, p)
		}
	}
	b.mu.Unlock()
	b.raise()
	return refused
}

// PutFromRelay queues a copy of a letter that came from another relay, unless such letters have
// used up their part of the space.
func (b *Box) PutFromRelay(p Posting) bool {
	b.mu.Lock()
	taken := b.put(&p, relayPart)
	b.mu.Unlock()
	if taken {
		b.raise()
	}
	return taken
}

// put queues a letter; divisor is the part of the space that it may use. The mutex must be held,
// and raise called when it no longer is.
func (b *Box) put(p *Posting, divisor int) bool {
	t := &b.batch
	if b.closed || len(t.letters) >= Limit/divisor || len(t.bytes)+len(p.Data) > BytesLimit/divisor {
		return false
	}
	t.bytes = append(t.bytes, p.Data...)
	t.letters = append(t.letters, letter{p.Letter, len(t.bytes)})
	return true
}

// raise wakes the loop, unless it has been woken since it took letters.
func (b *Box) raise() {
	if !b.hasLetters.Swap(true) {
		b.wake()
	}
}

// Drain returns what has been put, in exchange for an empty batch. The shard's loop only.
func (b *Box) Drain(empty Batch) (Batch, bool) {
	if !b.hasLetters.Load() {
		return empty, false
	}
	b.hasLetters.Store(false) // before the lock: a letter that comes later raises it again
	b.mu.Lock()
	defer b.mu.Unlock()
	full := b.batch
	b.batch = empty
	return full, true
}

// Close has the box refuse letters, and returns those that were not taken.
func (b *Box) Close() Batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	left := b.batch
	b.batch = Batch{}
	return left
}

// Batch is letters with their bytes, one after the other. The zero Batch is empty.
type Batch struct {
	letters []letter
	bytes   []byte
}

// letter is one of a batch. Its bytes begin where those of the letter before end.
type letter struct {
	Letter
	end int
}

// All returns the letters in order, with their bytes, which are valid as long as the batch is not
// emptied.
func (t *Batch) All() iter.Seq2[*Letter, []byte] {
	return func(yield func(*Letter, []byte) bool) {
		start := 0
		for k := range t.letters {
			l := &t.letters[k]
			if !yield(&l.Letter, t.bytes[start:l.end:l.end]) {
				return
			}
			start = l.end
		}
	}
}

// Len returns how many letters the batch has.
func (t *Batch) Len() int { return len(t.letters) }

// Bytes returns how many bytes its letters have.
func (t *Batch) Bytes() int { return len(t.bytes) }

// Emptied returns the batch without letters, and without memory that a burst has left.
func (t Batch) Emptied() Batch {
	if cap(t.bytes) > keptBytes {
		t.bytes = nil
	}
	return Batch{t.letters[:0], t.bytes[:0]}
}
