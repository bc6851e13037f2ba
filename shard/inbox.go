package shard

import (
	"math"
	"sync"
	"sync/atomic"
)

// inbox is the door by which other goroutines reach a shard's loop: a bounded
// list behind a flag. The loop looks at the flag once per turn, which is one
// load of an unshared cache line, and takes the lock only when it is up.
type inbox struct {
	full atomic.Bool
	mu   sync.Mutex
	list []letter
	max  int
	wake func()
	// closed is set when the loop has ended: nobody reads letters any more.
	closed bool
	// gone is closed when no letter will run any more, also none that was
	// taken.
	gone chan struct{}
}

// letter is something for the loop to do with its own shard.
type letter func(*Shard)

// post hands l over and wakes the loop. It never waits; false means that the
// inbox is full or closed, and then l will not run.
func (b *inbox) post(l letter) bool { return b.put(l, b.max) }

// lossRoom is what the inbox has room for beyond max when another shard
// reports a lost backend: every backend that the registry holds, once.
const lossRoom = 4096

// postReserved is post for a shard's report that a backend is lost.
func (b *inbox) postReserved(l letter) bool { return b.put(l, b.max+lossRoom) }

// insist is post for the few commands of the shard's owner, which find room
// in a full inbox too.
func (b *inbox) insist(l letter) bool { return b.put(l, math.MaxInt) }

func (b *inbox) put(l letter, most int) bool {
	b.mu.Lock()
	if b.closed || len(b.list) >= most {
		b.mu.Unlock()
		return false
	}
	b.list = append(b.list, l)
	// Under the lock: a flag that is raised late, for a letter that has been
	// taken already, would make the loop take an empty list.
	first := !b.full.Swap(true)
	b.mu.Unlock()
	if first {
		b.wake()
	}
	return true
}

// take returns what has been posted, exchanging it for the emptied list of
// last time. Loop only.
func (b *inbox) take(empty []letter) []letter {
	if !b.full.Load() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full.Store(false)
	if len(b.list) == 0 {
		return nil // and empty stays the loop's own: two lists must not share it
	}
	list := b.list
	b.list = empty[:0]
	return list
}

// ended reports whether nobody reads letters any more.
func (b *inbox) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// close ends the inbox. Letters that were not taken are returned to run once
// more, so that what they carry is not lost.
func (b *inbox) close() []letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.list
}

// abandon ends the inbox; letters that have not run will not. Calling it again
// does nothing.
func (b *inbox) abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.list = true, nil
	select {
	case <-b.gone:
	default:
		close(b.gone)
	}
}
