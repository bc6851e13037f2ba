package backend

import (
	"slices"
	"strings"
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
	i, ok := s.index(id)
	if !ok {
		return Backend{}, false
	}
	return s.Backends[i], true
}

func (s *Snapshot) index(id ID) (int, bool) {
	return slices.BinarySearchFunc(s.Backends, id, func(b Backend, id ID) int { return compareID(b.ID, id) })
}

func compareID(a, b ID) int { return strings.Compare(string(a), string(b)) }

// Registry holds the backends and is the only writer of snapshots. Any
// goroutine may call it.
type Registry struct {
	current atomic.Pointer[Snapshot]

	mu     sync.Mutex
	pulses map[ID]*pulse
	// replaced are processes that gave way to another registration, and when.
	replaced map[ID]time.Time
	watchers map[*Watcher]struct{}
	gate     gate
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	r := &Registry{
		pulses:   make(map[ID]*pulse),
		replaced: make(map[ID]time.Time),
		watchers: make(map[*Watcher]struct{}),
	}
	r.current.Store(new(Snapshot))
	return r
}

// Snapshot returns the present set: one atomic load.
func (r *Registry) Snapshot() *Snapshot { return r.current.Load() }

// Put adds a backend, or replaces the one with its ID. The error says why the
// gate refuses its address.
func (r *Registry) Put(b Backend) error {
	b.Weight = max(b.Weight, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.gate.check(b.Addr); err != nil {
		return err
	}
	delete(r.pulses, b.ID)
	r.publish(append(r.without(b.ID), b))
	return nil
}

// Remove forgets a backend.
func (r *Registry) Remove(id ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if left := r.without(id); len(left) < len(r.Snapshot().Backends) {
		r.publish(left)
	}
}

// without returns a copy of all backends but one.
func (r *Registry) without(id ID) []Backend {
	return slices.DeleteFunc(slices.Clone(r.Snapshot().Backends), func(b Backend) bool { return b.ID == id })
}

// Alive notes that a backend answered, when, and which key length it
// advertised. It reports whether the backend was down.
func (r *Registry) Alive(id ID, keyLen uint16, at time.Time) (returned bool) {
	r.update(id, func(b *Backend) {
		returned = b.Down
		r.pulse(id).answered = at
		if b.Down || b.Suspect || b.KeyLen != keyLen || at.Sub(b.Answered) >= answeredStep {
			b.Down, b.Gone, b.Suspect, b.KeyLen, b.Answered = false, false, false, keyLen, at
		}
	})
	return returned
}

// Down notes that a backend takes no streams until it answers again: it is
// certain that nobody listens there. Who watches is told, so that it is asked at once. It reports
// whether the backend was alive.
func (r *Registry) Down(id ID) (fell bool) {
	r.update(id, func(b *Backend) {
		if fell = !b.Down; fell {
			r.tell(id)
		}
		b.Down, b.Gone = true, true
	})
	return fell
}

// ProbeSoon has who watches ask a backend at once.
func (r *Registry) ProbeSoon(id ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell(id)
}

// Doubt notes that a session found a backend silent, which proves little: it
// keeps its streams, and who watches is told, so that it is asked at once. It
// reports whether that is news.
func (r *Registry) Doubt(id ID) (news bool) {
	r.update(id, func(b *Backend) {
		if news = !b.Down && !b.Suspect; news {
			r.tell(id)
			b.Suspect = true
		}
	})
	return news
}

// Missed is Down for who asks the backends and needs no reminder to do so.
func (r *Registry) Missed(id ID) (fell bool) {
	r.update(id, func(b *Backend) {
		fell = !b.Down
		b.Down = true
	})
	return fell
}

// SetDraining says whether the operator wants no new streams on a backend. It
// reports whether the backend is known. A server that restarts is drained no
// more, for it registers anew; a static backend stays as it was set.
func (r *Registry) SetDraining(id ID, draining bool) (known bool) {
	r.update(id, func(b *Backend) { known, b.Draining = true, draining })
	return known
}

// Weigh sets a backend's share of new streams, at least 1. It reports whether
// the backend is known.
func (r *Registry) Weigh(id ID, weight int) (known bool) {
	r.update(id, func(b *Backend) { known, b.Weight = true, max(weight, 1) })
	return known
}

// update changes one backend, if it exists and fn changes it.
func (r *Registry) update(id ID, fn func(*Backend)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.Snapshot()
	i, ok := old.index(id)
	if !ok {
		return
	}
	b := old.Backends[i]
	if fn(&b); b != old.Backends[i] {
		all := slices.Clone(old.Backends)
		all[i] = b
		r.publish(all)
	}
}

// publish makes all, which it takes over, the present set.
func (r *Registry) publish(all []Backend) {
	slices.SortFunc(all, func(a, b Backend) int { return compareID(a.ID, b.ID) })
	s := &Snapshot{Backends: all}
	for i := range all {
		r.pulses[all[i].ID].show(&all[i])
		s.KeyLen = max(s.KeyLen, all[i].KeyLen)
	}
	r.tellChanges(r.current.Swap(s), s)
}
