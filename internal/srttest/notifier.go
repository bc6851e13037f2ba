package srttest

import (
	"context"
	"sync"
	"sync/atomic"
)

// Notifier wakes the goroutines that wait for a condition. The goroutine that changes the
// state calls Notify afterwards, which costs one atomic load while nobody waits.
type Notifier struct {
	waiters atomic.Int32
	mu      sync.Mutex
	changed chan struct{}
}

// Notify has the waiting goroutines check their conditions.
func (n *Notifier) Notify() {
	if n.waiters.Load() == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
}

func (n *Notifier) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.changed == nil {
		n.changed = make(chan struct{})
	}
	return n.changed
}

// Await returns when cond holds or ctx ends. It counts itself as a waiter before it checks
// cond, so that it misses no change.
func (n *Notifier) Await(ctx context.Context, cond func() bool) error {
	n.waiters.Add(1)
	defer n.waiters.Add(-1)
	for {
		changed := n.next()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
