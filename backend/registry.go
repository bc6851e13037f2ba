package backend

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Snapshot is the set of backends at one moment. It is immutable and may be kept
// for any time.
type Snapshot struct {
	// Backends are sorted by ID.
	Backends []Backend
	// KeyLen is the key length to advertise to callers: the longest that a
	// backend advertises. A caller with a passphrase and no key length of its
	// own adopts it, so that no caller is silently downgraded. A backend that
	// advertises less accepts the longer key.
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

	mu       sync.Mutex
	liveness map[ID]*liveness
	// replaced is when another registration replaced a process.
	replaced map[ID]time.Time
	watchers map[*Watcher]struct{}
	names    map[string]*named // by Host
	// waiting are static backends, by Host, whose address another backend has.
	waiting map[string]Backend
	filter  addrFilter

	hostsChanged chan struct{} // wakes ResolveNames
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	r := &Registry{
		liveness: make(map[ID]*liveness),
		replaced: make(map[ID]time.Time),
		watchers: make(map[*Watcher]struct{}),
		names:    make(map[string]*named),
		waiting:  make(map[string]Backend),

		hostsChanged: make(chan struct{}, 1),
	}
	r.current.Store(new(Snapshot))
	return r
}

// Snapshot returns the present set: one atomic load.
func (r *Registry) Snapshot() *Snapshot { return r.current.Load() }

// Put adds a backend, or replaces the one with its ID. The error says why no
// backend may have its address.
func (r *Registry) Put(b Backend) error {
	b.Weight = max(b.Weight, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.filter.check(b.Addr); err != nil {
		return err
	}
	delete(r.liveness, b.ID)
	r.publish(append(r.without(b.ID), b))
	return nil
}

// Remove removes a backend.
func (r *Registry) Remove(id ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if left := r.without(id); len(left) < len(r.Snapshot().Backends) {
		r.publish(left)
	}
}

// without returns a copy of all backends except one.
func (r *Registry) without(id ID) []Backend {
	return slices.DeleteFunc(slices.Clone(r.Snapshot().Backends), func(b Backend) bool { return b.ID == id })
}

// MarkAlive notes that a backend answered, when, and which key length it
// advertised. It reports whether the backend was down.
func (r *Registry) MarkAlive(id ID, keyLen uint16, at time.Time) (returned bool) {
	r.update(id, func(b *Backend) {
		returned = b.Down
		r.livenessOf(id).answered = at
		if b.Down || b.Suspect || b.KeyLen != keyLen || at.Sub(b.Answered) >= answeredStep {
			b.Down, b.Gone, b.Suspect, b.KeyLen, b.Answered = false, false, false, keyLen, at
		}
	})
	return returned
}

// MarkDown notes that nothing listens at a backend for certain: it gets no streams
// until it answers again. It wakes the watchers, so that the backend is probed at
// once. It reports whether the backend was alive.
func (r *Registry) MarkDown(id ID) (fell bool) {
	r.update(id, func(b *Backend) {
		if fell = !b.Down; fell {
			r.notify(id)
		}
		b.Down, b.Gone = true, true
	})
	return fell
}

// ProbeSoon wakes the watchers, so that a backend is probed at once.
func (r *Registry) ProbeSoon(id ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notify(id)
}

// Suspect notes that a session found a backend silent, which proves little: the
// backend keeps its streams. It wakes the watchers, so that the backend is probed at
// once. It reports whether the backend was not suspect before.
func (r *Registry) Suspect(id ID) (news bool) {
	r.update(id, func(b *Backend) {
		if news = !b.Down && !b.Suspect; news {
			r.notify(id)
			b.Suspect = true
		}
	})
	return news
}

// MarkDownQuiet notes that a backend did not answer the prober. Unlike MarkDown it
// does not wake the watchers, and does not mean that nothing listens there.
func (r *Registry) MarkDownQuiet(id ID) (fell bool) {
	r.update(id, func(b *Backend) {
		fell = !b.Down
		b.Down = true
	})
	return fell
}

// Drain sets whether an operator wants no new streams on the backend. by is the relay where that
// was ordered, "" for this one.
func (b *Backend) Drain(draining bool, by string) {
	b.Draining, b.DrainedBy, b.OrderedBy = draining, by, by
}

// Weigh sets the weight that an operator has ordered, likewise.
func (b *Backend) Weigh(weight int, by string) {
	b.OrderedWeight, b.WeighedBy, b.OrderedBy = max(weight, 0), by, by
}

// SetDraining sets whether the operator wants no new streams on a backend, or on all
// backends of a name. It reports whether there are any. A server that restarts is not
// draining any more, because it registers anew; a static backend stays as it was set.
func (r *Registry) SetDraining(id ID, draining bool) (known bool) {
	return r.updateNamed(id, func(b *Backend) { b.Drain(draining, "") })
}

// OrderWeight sets the share of new streams that the operator orders for a backend, or for
// each backend of a name; 0 for the configured one. It reports whether there are any.
func (r *Registry) OrderWeight(id ID, weight int) (known bool) {
	return r.updateNamed(id, func(b *Backend) { b.Weigh(weight, "") })
}

// Adjust calls fn with every backend and publishes what fn changes, in one snapshot. fn
// must change neither ID nor Addr.
func (r *Registry) Adjust(fn func(*Backend)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, changed := slices.Clone(r.Snapshot().Backends), false
	for i := range all {
		was := all[i]
		fn(&all[i])
		changed = changed || all[i] != was
	}
	if changed {
		r.publish(all)
	}
}

// SetWeight sets a backend's share of new streams, at least 1, or that of each backend
// of a name. It reports whether there are any.
func (r *Registry) SetWeight(id ID, weight int) (known bool) {
	r.mu.Lock()
	if n := r.names[string(id)]; n != nil {
		n.weight = max(weight, 1)
	}
	r.mu.Unlock()
	return r.updateNamed(id, func(b *Backend) { b.Weight = max(weight, 1) })
}

// updateNamed changes the backend of an ID and the backends of a name. It reports
// whether there are any.
func (r *Registry) updateNamed(id ID, fn func(*Backend)) (known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, changed := slices.Clone(r.Snapshot().Backends), false
	for i := range all {
		b := &all[i]
		if b.ID != id && (b.Source != SourceStatic || b.Host != string(id)) {
			continue
		}
		was := *b
		fn(b)
		known, changed = true, changed || *b != was
	}
	if changed {
		r.publish(all)
	}
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

// publish makes all the present set, and owns it from then on.
func (r *Registry) publish(all []Backend) {
	slices.SortFunc(all, func(a, b Backend) int { return compareID(a.ID, b.ID) })
	s := &Snapshot{Backends: all}
	for i := range all {
		r.liveness[all[i].ID].apply(&all[i])
		s.KeyLen = max(s.KeyLen, all[i].KeyLen)
	}
	r.notifyChanges(r.current.Swap(s), s)
}
