// Package balancer chooses the backend of a stream: a Balancer keeps every
// publisher and player of one stream together, a Resolver asks it off the
// loop of a shard.
//
// It must not know SRT, sockets or shards.
package balancer

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"srtrelay/backend"
)

// Balancer chooses. Any goroutine may call it, and calls may take their time
// within the context.
type Balancer interface {
	// Pick returns the backend that serves the stream, choosing one if it is
	// new, and a lease on it. backend.ErrNone if there is none.
	Pick(ctx context.Context, q backend.Query) (backend.Target, error)
	// Release gives a lease back.
	Release(l backend.Lease)
}

// Linger is how long a stream keeps its backend after its last session: a
// publisher that reconnects finds its stream where it was.
const Linger = 15 * time.Second

// Load is what a backend carries.
type Load struct{ Sessions, Streams int }

// Memory is the Balancer of a single relay: least sessions first, and all
// sessions of one stream, or of one bonding group, on one backend for as long
// as that backend is not down.
type Memory struct {
	registry *backend.Registry
	now      func() time.Time
	seed     maphash.Seed

	mu      sync.Mutex
	homes   map[home]*stay
	leases  map[backend.Lease]lease
	load    map[backend.ID]int
	last    backend.Lease
	sweptAt time.Time
}

// home names what must stay on one backend: a stream by its key, or a bonding
// group by its ID.
type home struct {
	key   string
	group uint32
}

// stay is where a home is at present.
type stay struct {
	at       backend.ID
	sessions int
	leftAt   time.Time // when sessions fell to 0
}

type lease struct {
	at    backend.ID
	homes [2]home // the stream and, if any, the group
}

// NewMemory returns a balancer over the registry's backends. now is the clock.
func NewMemory(r *backend.Registry, now func() time.Time) *Memory {
	return &Memory{
		registry: r, now: now, seed: maphash.MakeSeed(),
		homes:  make(map[home]*stay),
		leases: make(map[backend.Lease]lease),
		load:   make(map[backend.ID]int),
	}
}

// Pick implements Balancer. The group decides before the stream: libsrt finds
// the mirror of a group in its own process only.
func (m *Memory) Pick(_ context.Context, q backend.Query) (backend.Target, error) {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweep()
	ls := lease{homes: [2]home{{key: q.Key}}}
	if q.Group != 0 {
		ls.homes[1] = home{group: q.Group}
	}
	b, ok := m.find(snap, ls.homes[1])
	if !ok {
		b, ok = m.find(snap, ls.homes[0])
	}
	if !ok {
		b, ok = m.least(snap, q.Key)
	}
	if !ok {
		return backend.Target{}, backend.ErrNone
	}
	ls.at = b.ID
	for _, h := range ls.homes {
		m.enter(snap, h, b.ID)
	}
	m.load[b.ID]++
	m.last++
	m.leases[m.last] = ls
	return backend.Target{ID: b.ID, Addr: b.Addr, Lease: m.last}, nil
}

// find returns where h stays, if that backend can take sessions.
func (m *Memory) find(snap *backend.Snapshot, h home) (backend.Backend, bool) {
	st := m.homes[h]
	if h == (home{}) || st == nil {
		return backend.Backend{}, false
	}
	b, ok := snap.Find(st.at)
	return b, ok && !b.Down
}

// least returns the backend with the fewest sessions. Among equals the key
// decides, so that streams spread from the first one on.
func (m *Memory) least(snap *backend.Snapshot, key string) (best backend.Backend, ok bool) {
	var bestHash uint64
	for _, b := range snap.Backends {
		if b.Down {
			continue
		}
		hash := maphash.String(m.seed, key+"\x00"+string(b.ID))
		load, bestLoad := m.load[b.ID], m.load[best.ID]
		if !ok || load < bestLoad || load == bestLoad && hash < bestHash {
			best, bestHash, ok = b, hash, true
		}
	}
	return best, ok
}

// enter counts a session of h at a backend. A home whose backend is down or
// gone moves; one that stays elsewhere in good health, as the stream of a
// group's member may, is left where it is.
func (m *Memory) enter(snap *backend.Snapshot, h home, at backend.ID) {
	if h == (home{}) {
		return
	}
	st := m.homes[h]
	if st == nil {
		st = &stay{at: at}
		m.homes[h] = st
	} else if _, healthy := m.find(snap, h); !healthy {
		st.at = at
	}
	st.sessions++
}

// Release implements Balancer. A lease that is not known is ignored.
func (m *Memory) Release(l backend.Lease) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ls, ok := m.leases[l]
	if !ok {
		return
	}
	delete(m.leases, l)
	if m.load[ls.at]--; m.load[ls.at] == 0 {
		delete(m.load, ls.at)
	}
	for _, h := range ls.homes {
		if st := m.homes[h]; st != nil {
			if st.sessions--; st.sessions == 0 {
				st.leftAt = m.now()
			}
		}
	}
}

// sweep forgets the homes that have been empty for Linger, at most once a
// second: a pick among many streams must not cost a walk over them.
func (m *Memory) sweep() {
	now := m.now()
	if now.Sub(m.sweptAt) < time.Second {
		return
	}
	m.sweptAt = now
	for h, st := range m.homes {
		if st.sessions == 0 && now.Sub(st.leftAt) >= Linger {
			delete(m.homes, h)
		}
	}
}

// Loads returns what every backend that carries anything carries.
func (m *Memory) Loads() map[backend.ID]Load {
	m.mu.Lock()
	defer m.mu.Unlock()
	loads := make(map[backend.ID]Load, len(m.load))
	for id, n := range m.load {
		loads[id] = Load{Sessions: n}
	}
	for h, st := range m.homes {
		if h.key != "" && st.sessions > 0 {
			l := loads[st.at]
			l.Streams++
			loads[st.at] = l
		}
	}
	return loads
}
