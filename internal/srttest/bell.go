package srttest

import (
	"context"
	"sync"
	"sync/atomic"
)

// bell wakes those who wait for a condition. Whoever changes state rings it
// after the change; ringing costs one atomic load while nobody waits.
type bell struct {
	waiters atomic.Int32
	mu      sync.Mutex
	rung    chan struct{}
}

func (b *bell) ring() {
	if b.waiters.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}

func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

// await returns when cond holds or ctx ends. It counts itself in before it
// looks, so that no change slips between looking and waiting.
func (b *bell) await(ctx context.Context, cond func() bool) error {
	b.waiters.Add(1)
	defer b.waiters.Add(-1)
	for {
		rung := b.next()
		if cond() {
			return nil
		}
		select {
		case <-rung:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
