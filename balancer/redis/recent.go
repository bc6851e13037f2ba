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

// fresh are the bindings that Redis has confirmed within trust. It holds no
// more than was confirmed since the last sweep, a second ago.
type fresh struct {
	mu sync.Mutex
	at map[balancer.Home]time.Time
}

func (f *fresh) add(h balancer.Home, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at == nil {
		f.at = make(map[balancer.Home]time.Time)
	}
	f.at[h] = now
}

func (f *fresh) has(h balancer.Home, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, ok := f.at[h]
	return ok && now.Sub(at) < trust
}

func (f *fresh) sweep(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for h, at := range f.at {
		if now.Sub(at) >= trust {
			delete(f.at, h)
		}
	}
}

// misses are streams that were not there a moment ago.
type misses struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (m *misses) add(key string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at == nil {
		m.at = make(map[string]time.Time)
	}
	if len(m.at) >= maxMisses {
		return // they ask again, which costs a round trip and no memory
	}
	m.at[key] = now
}

func (m *misses) has(key string, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.at[key]
	return ok && now.Sub(at) < missFor
}

func (m *misses) sweep(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, at := range m.at {
		if now.Sub(at) >= missFor {
			delete(m.at, key)
		}
	}
}
