package redis

import (
	"sync"
	"time"

	"srtrelay/balancer"
)

const (
	// missFor is how long a stream that nobody publishes is remembered as
	// such: short enough for a publisher that comes a moment later.
	missFor = time.Second
	// maxMisses bounds what players of streams that do not exist can fill.
	maxMisses = 4096
)

// recent are keys that something was true of a moment ago. Any goroutine may
// call it.
type recent[K comparable] struct {
	lasting time.Duration
	most    int // keys, 0 for no bound but the sweep

	mu sync.Mutex
	at map[K]time.Time
}

// newFresh are the bindings that Redis has confirmed within trust. They are no
// more than were confirmed since the last sweep, a second ago.
func newFresh() *recent[balancer.Home] {
	return &recent[balancer.Home]{lasting: trust, at: make(map[balancer.Home]time.Time)}
}

// newMisses are streams that were not there a moment ago.
func newMisses() *recent[string] {
	return &recent[string]{lasting: missFor, most: maxMisses, at: make(map[string]time.Time)}
}

// add notes a key. One too many is not noted: it asks again, which costs a
// round trip and no memory.
func (r *recent[K]) add(key K, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.most == 0 || len(r.at) < r.most {
		r.at[key] = now
	}
}

func (r *recent[K]) has(key K, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.at[key]
	return ok && now.Sub(at) < r.lasting
}

func (r *recent[K]) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, at := range r.at {
		if now.Sub(at) >= r.lasting {
			delete(r.at, key)
		}
	}
}
