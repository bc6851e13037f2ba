package srttest

import (
	"context"
	"sync"
	"sync/atomic"
)

// notifier wakes the goroutines that wait for a condition. The goroutine that changes the
// state calls notify afterwards, which costs one atomic load while nobody waits.
type notifier struct {
	waiters atomic.Int32
	mu      sync.Mutex
	changed chan struct{}
}

func (n *notifier) notify() {
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

func (n *notifier) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.changed == nil {
		n.changed = make(chan struct{})
	}
	return n.changed
}

// await returns when cond holds or ctx ends. It counts itself as a waiter before it checks
// cond, so that it misses no change.
func (n *notifier) await(ctx context.Context, cond func() bool) error {
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
