package backend

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Snapshot is the set of backends at one moment. It is immutable; who holds
// one may keep it as long as it likes.
type Snapshot struct {
	// Backends in the order of their IDs.
	Backends []Backend
	// KeyLen is the key length to advertise to callers: the longest that a
	// backend has been seen to advertise. A caller with a passphrase and no
	// key length of its own adopts it, so nobody is silently downgraded; a
	// backend that asks for less takes the longer key all the same.
	KeyLen uint16
}

// Find returns the backend with this ID.
func (s *Snapshot) Find(id ID) (Backend, bool) {
	i, ok := slices.BinarySearchFunc(s.Backends, id, func(b Backend, id ID) int {
		return compareID(b.ID, id)
	})
	if !ok {
		return Backend{}, false
	}
	return s.Backends[i], true
}

func compareID(a, b ID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// answeredStep is the grain of Backend.Answered: hundreds of backends that are
// probed every second must not make hundreds of snapshots a second.
const answeredStep = 10 * time.Second

// Registry holds the backends and is the only writer of snapshots. Any
// goroutine may call it.
type Registry struct {
	mu      sync.Mutex
	current atomic.Pointer[Snapshot]
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	r := new(Registry)
	r.current.Store(new(Snapshot))
	return r
}

// Snapshot returns the present set: one atomic load.
func (r *Registry) Snapshot() *Snapshot { return r.current.Load() }

// Put adds a backend, or replaces the one with its ID.
func (r *Registry) Put(b Backend) {
	r.change(func(all []Backend) []Backend {
		all = slices.DeleteFunc(all, func(old Backend) bool { return old.ID == b.ID })
		return append(all, b)
	})
}

// Remove forgets a backend.
func (r *Registry) Remove(id ID) {
	r.change(func(all []Backend) []Backend {
		return slices.DeleteFunc(all, func(b Backend) bool { return b.ID == id })
	})
}

// Alive notes that a backend answered, when, and which key length it
// advertised. It reports whether the backend was down.
func (r *Registry) Alive(id ID, keyLen uint16, at time.Time) (returned bool) {
	r.update(id, func(b *Backend) {
		returned = b.Down
		if b.Down || b.KeyLen != keyLen || at.Sub(b.Answered) >= answeredStep {
			b.Down, b.KeyLen, b.Answered = false, keyLen, at
		}
	})
	return returned
}

// Down notes that a backend takes no streams until it answers again. It
// reports whether the backend was alive.
func (r *Registry) Down(id ID) (fell bool) {
	r.update(id, func(b *Backend) {
		fell = !b.Down
		b.Down = true
	})
	return fell
}

// update changes one backend, if it exists and fn changes it.
func (r *Registry) update(id ID, fn func(*Backend)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.current.Load()
	for i, b := range old.Backends {
		if b.ID != id {
			continue
		}
		if fn(&b); b != old.Backends[i] {
			all := slices.Clone(old.Backends)
			all[i] = b
			r.publish(all)
		}
		return
	}
}

func (r *Registry) change(fn func([]Backend) []Backend) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.publish(fn(slices.Clone(r.current.Load().Backends)))
}

func (r *Registry) publish(all []Backend) {
	slices.SortFunc(all, func(a, b Backend) int { return compareID(a.ID, b.ID) })
	s := &Snapshot{Backends: all}
	for _, b := range all {
		s.KeyLen = max(s.KeyLen, b.KeyLen)
	}
	r.current.Store(s)
}
