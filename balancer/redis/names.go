package redis

import (
	"maps"
	"sync"

	"srtrelay/backend"
)

// names translates between backends and the keys of their entries.
type names struct {
	mu sync.Mutex
	// aliases are keys whose server has the address of a backend that the
	// relay knows by another name: a static one, or the same after a restart.
	aliases map[string]backend.ID
	// written is, for a static backend, the alias to write: SRS's proxy finds
	// the server's other protocols there.
	written map[backend.ID]string
	snap    *backend.Snapshot
	byKey   map[string]backend.ID
}

// alias replaces the aliases.
func (n *names) alias(all map[string]backend.ID, written map[backend.ID]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.aliases, n.written, n.snap = all, written, nil
}

// of returns the key to write for a backend.
func (n *names) of(b backend.Backend) string {
	if b.Registration != nil {
		return serverKey(b.Registration.ID())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if key, ok := n.written[b.ID]; ok {
		return key
	}
	return ownKey(b)
}

// ownKey is the key of a backend by its own name.
func ownKey(b backend.Backend) string {
	switch {
	case b.Registration != nil:
		return serverKey(b.Registration.ID())
	case b.Source == backend.SourceStatic:
		return serverKey(staticPrefix + backend.ID(b.Host))
	}
	return serverKey(b.ID)
}

// find returns the backend whose key it is.
func (n *names) find(snap *backend.Snapshot, key string) (backend.Backend, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.snap != snap {
		n.snap = snap
		n.byKey = maps.Clone(n.aliases)
		if n.byKey == nil {
			n.byKey = make(map[string]backend.ID, len(snap.Backends))
		}
		for _, b := range snap.Backends {
			n.byKey[ownKey(b)] = b.ID
			if b.Source == backend.SourceStatic { // also by its name of before the registration
				b.Registration = nil
				n.byKey[ownKey(b)] = b.ID
			}
		}
	}
	id, ok := n.byKey[key]
	if !ok {
		return backend.Backend{}, false
	}
	return snap.Find(id)
}
