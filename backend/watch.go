package backend

import "sync"

// Watcher collects the IDs of backends that have come, gone or moved, that a
// caller found dead, or that give a heartbeat while they count as down. It
// never holds up the registry: IDs gather until they are taken, each once.
type Watcher struct {
	registry *Registry
	wake     chan struct{}

	mu  sync.Mutex
	ids map[ID]struct{}
}

// Watch returns a watcher of all that happens from now on. Close it.
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

// Wake receives when there is something to take.
func (w *Watcher) Wake() <-chan struct{} { return w.wake }

// Take returns what has gathered since the last call.
func (w *Watcher) Take() map[ID]struct{} {
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
	default: // the one who takes finds this ID too
	}
}

// tell hands an ID to all watchers.
func (r *Registry) tell(id ID) {
	for w := range r.watchers {
		w.add(id)
	}
}

// tellChanges hands on who came, went or moved between two snapshots, and
// forgets the pulse of who went.
func (r *Registry) tellChanges(before, after *Snapshot) {
	for _, b := range before.Backends {
		now, ok := after.Find(b.ID)
		if !ok {
			delete(r.pulses, b.ID)
		}
		if !ok || now.Addr != b.Addr {
			r.tell(b.ID)
		}
	}
	for _, b := range after.Backends {
		if _, ok := before.Find(b.ID); !ok {
			r.tell(b.ID)
		}
	}
}
