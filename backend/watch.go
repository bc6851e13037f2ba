package backend

import "sync"

// Watcher collects the IDs of backends that were added, removed or moved, that a
// caller found dead or silent, or that send a heartbeat while they are down. It
// never blocks the registry: it keeps each ID once until Collect.
type Watcher struct {
	registry *Registry
	wake     chan struct{}

	mu  sync.Mutex
	ids map[ID]struct{}
}

// Watch returns a watcher of all changes from now on. The caller must close it.
func (r *Registry) Watch() *Watcher {
	w := &Watcher{registry: r, wake: make(chan struct{}, 1), ids: make(map[ID]struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers[w] = struct{}{}
	return w
}

// Close ends the watch.
func (w *Watcher) Close() {
	w.registry.mu.Lock()
	defer w.registry.mu.Unlock()
	delete(w.registry.watchers, w)
}

// Wake receives when Collect has something to return.
func (w *Watcher) Wake() <-chan struct{} { return w.wake }

// Collect returns the IDs since the last call.
func (w *Watcher) Collect() map[ID]struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := w.ids
	w.ids = make(map[ID]struct{})
	return ids
}

func (w *Watcher) add(id ID) {
	w.mu.Lock()
	w.ids[id] = struct{}{}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default: // the pending wake-up covers this ID too
	}
}

// notify passes an ID to all watchers.
func (r *Registry) notify(id ID) {
	for w := range r.watchers {
		w.add(id)
	}
}

// notifyChanges passes on which backends were added, removed or moved between two
// snapshots, and drops the liveness of those that were removed.
func (r *Registry) notifyChanges(before, after *Snapshot) {
	for _, b := range before.Backends {
		now, ok := after.Find(b.ID)
		if !ok {
			delete(r.liveness, b.ID)
		}
		if !ok || now.Addr != b.Addr {
			r.notify(b.ID)
		}
	}
	for _, b := range after.Backends {
		if _, ok := before.Find(b.ID); !ok {
			r.notify(b.ID)
		}
	}
}
