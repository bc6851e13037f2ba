package capture

import "sync/atomic"

// bell wakes the reader. A shard's ring costs it one load of a shared word
// unless the reader sleeps, and the reader arms it anew for each sleep: a busy
// shard does not wake it every turn.
type bell struct {
	armed atomic.Bool
	rung  chan struct{}
}

func newBell() *bell { return &bell{rung: make(chan struct{}, 1)} }

// ring wakes the reader if it sleeps. It never waits: the channel has room for
// the one ring that an arming allows, and what is left of the last one serves
// as well.
func (b *bell) ring() {
	if b.armed.Load() && b.armed.CompareAndSwap(true, false) {
		select {
		case b.rung <- struct{}{}:
		default:
		}
	}
}

// arm must come before the reader's last look at what it waits for. Reader
// only.
func (b *bell) arm() {
	select {
	case <-b.rung:
	default:
	}
	b.armed.Store(true)
}
