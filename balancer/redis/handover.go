package redis

import (
	"context"
	"maps"
	"sync"
	"time"

	"srtrelay/backend"
)

// handover is what a Balancer has to do with other processes of the same relay: one that
// takes over from it, or from which it takes over. Nothing in Redis names a relay or a
// process. So both processes write the same keys, and only what one of them would remove
// or bind anew must not reach Redis while the other one serves.
type handover struct {
	// renew receives when all bindings are to be renewed at once.
	renew chan struct{}

	mu     sync.Mutex
	resume chan struct{} // closed at Resume; nil while not paused
	// written are the keys of servers that the last round has written; immutable.
	written map[string]time.Time
	// restored are those that the other process had written, until a round has them.
	restored map[string]time.Time
}

// Pause stops what runs in the background until Resume: no server and no binding is
// renewed or removed. A round trip that is under way goes on.
func (b *Balancer) Pause() {
	h := &b.handover
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.resume == nil {
		h.resume = make(chan struct{})
	}
}

// Resume goes on after Pause, and renews all bindings at once.
func (b *Balancer) Resume() {
	h := &b.handover
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.resume != nil {
		close(h.resume)
		h.resume = nil
		h.renewSoon()
	}
}

// Abandon is Close for a process whose sessions another process has taken over: nothing
// more is written to Redis or removed from it.
func (b *Balancer) Abandon() {
	b.Pause()
	b.Close()
}

// ReleaseExcept releases the leases that nobody holds after a take-over, and returns how
// many.
func (b *Balancer) ReleaseExcept(held func(backend.Lease) bool) (released int) {
	released, dropped := b.memory.ReleaseExcept(held)
	b.drop(dropped)
	return released
}

// awaitResume waits while the Balancer is paused, or until ctx ends.
func (h *handover) awaitResume(ctx context.Context) {
	h.mu.Lock()
	resume := h.resume
	h.mu.Unlock()
	if resume == nil {
		return
	}
	select {
	case <-resume:
	case <-ctx.Done():
	}
}

func (h *handover) isPaused() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.resume != nil
}

func (h *handover) renewSoon() {
	select {
	case h.renew <- struct{}{}:
	default: // it is going to be done
	}
}

func (h *handover) notePublished(all map[string]time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.written = all
}

// published returns the keys of servers that this relay has written.
func (h *handover) published() map[string]time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.restored) == 0 {
		return h.written
	}
	all := maps.Clone(h.restored)
	maps.Copy(all, h.written)
	return all
}

// setPublished notes the keys of servers that the relay's other process has written.
func (h *handover) setPublished(all map[string]time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.restored = all
	h.renewSoon()
}

// takePublished returns what setPublished has noted, once.
func (h *handover) takePublished() map[string]time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.restored
	h.restored = nil
	return all
}
