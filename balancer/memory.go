package balancer

import (
	"context"
	"sync"
	"time"

	"srtrelay/backend"
)

// Linger is how long a stream keeps its backend after its last session unless
// the operator says otherwise: a publisher that reconnects finds its stream
// where it was.
const Linger = 15 * time.Second

// Memory is the Balancer of a single relay: all sessions of one stream, or of
// one bonding group, on one backend for as long as that backend is not down.
// The exported fields are set before the first call.
type Memory struct {
	// Policy chooses for new streams, LeastSessions by default.
	Policy Policy
	// Affinity is how long a stream or group stays bound to its backend after
	// its last session, Linger by default.
	Affinity time.Duration
	// PlayersCreate lets a player choose the backend of a stream that is not
	// there yet, which is the default; without it such a player gets
	// backend.ErrNoStream.
	PlayersCreate bool
	// Bitrate, if not nil, returns what a backend carries at present, in
	// bit/s. It is called under a lock and must not wait.
	Bitrate func(backend.ID) float64

	registry *backend.Registry
	now      func() time.Time
	origin   time.Time // what clock counts from

	mu     sync.Mutex
	homes  homes
	leases leases
	load   map[backend.ID]int
	takers []*backend.Backend // scratch of prefer, into its snapshot
}

// clock is how long the balancer has been there.
func (m *Memory) clock() time.Duration { return m.now().Sub(m.origin) }

// Choice is a backend for a query, and why this one.
type Choice struct {
	Backend backend.Backend
	Why     string
	// Bound says that the stream or its group is there already.
	Bound bool
}

// NewMemory returns a balancer over the registry's backends. now is the clock.
func NewMemory(r *backend.Registry, now func() time.Time) *Memory {
	return &Memory{
		Policy: LeastSessions, Affinity: Linger, PlayersCreate: true,
		registry: r, now: now, origin: now(),
		homes: homes{stays: make(map[Home]*stay)},
		load:  make(map[backend.ID]int),
	}
}

// Pick implements Balancer.
func (m *Memory) Pick(_ context.Context, q backend.Query) (backend.Target, error) {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.prefer(snap, q, m.Policy)
	if err != nil {
		return backend.Target{}, err
	}
	return m.admit(snap, q, c.Backend), nil
}

// Explain says where Pick would send a query, and why, and changes nothing.
// The Target has no lease.
func (m *Memory) Explain(q backend.Query) (backend.Target, string, error) {
	c, err := m.Prefer(q, m.Policy)
	return backend.Target{ID: c.Backend.ID, Addr: c.Backend.Addr}, c.Why, err
}

// Prefer returns what Pick would choose by a policy, and changes nothing.
func (m *Memory) Prefer(q backend.Query, p Policy) (Choice, error) {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.prefer(snap, q, p)
}

// Admit gives a lease on a backend that somebody else chose for a query.
func (m *Memory) Admit(q backend.Query, b backend.Backend) backend.Target {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.admit(snap, q, b)
}

func tried(q backend.Query, id backend.ID) bool { return id == q.Tried[0] || id == q.Tried[1] }

func (m *Memory) prefer(snap *backend.Snapshot, q backend.Query, p Policy) (Choice, error) {
	group, stream := HomesOf(q)
	if b, ok := m.find(snap, group); ok && !tried(q, b.ID) {
		return Choice{b, "its bonding group is there", true}, nil
	}
	if b, ok := m.find(snap, stream); ok && !tried(q, b.ID) {
		return Choice{b, "the stream is there", true}, nil
	}
	// Whoever has tried a backend was sent there, so the stream was there.
	if !q.Publish && !m.PlayersCreate && q.Tried == [2]backend.ID{} {
		return Choice{}, backend.ErrNoStream
	}
	m.gather(snap, q, false)
	if len(m.takers) == 0 {
		m.gather(snap, q, true)
	}
	b, why, err := m.choose(p, q.Key, m.takers)
	clear(m.takers) // must not keep a snapshot that is no longer in force
	if err != nil {
		return Choice{}, err
	}
	return Choice{Backend: *b, Why: why}, nil
}

// gather fills takers with who may be given the query's stream: those above
// suspicion, or those that are not.
func (m *Memory) gather(snap *backend.Snapshot, q backend.Query, suspect bool) {
	now := m.now()
	m.takers = m.takers[:0]
	for i := range snap.Backends {
		if b := &snap.Backends[i]; b.Takes(now) && b.Suspect == suspect && !tried(q, b.ID) {
			m.takers = append(m.takers, b)
		}
	}
}

// find returns where h stays, if that backend lives. One that is draining or
// whose heartbeat is late keeps the streams that it has.
func (m *Memory) find(snap *backend.Snapshot, h Home) (backend.Backend, bool) {
	st := m.homes.stays[h]
	if st == nil || m.over(st) {
		return backend.Backend{}, false
	}
	b, ok := snap.Find(st.own.at)
	return b, ok && !b.Down
}

// over reports whether the home has been empty for too long to be bound.
func (m *Memory) over(st *stay) bool {
	return st.sessions() == 0 && m.clock()-st.left >= m.Affinity
}

func (m *Memory) admit(snap *backend.Snapshot, q backend.Query, b backend.Backend) backend.Target {
	m.homes.forget(m.clock() - m.Affinity)
	group, stream := HomesOf(q)
	lease := m.leases.give(held{
		at: b.ID, group: m.enter(snap, group, q, b.ID), stream: m.enter(snap, stream, q, b.ID),
	})
	m.load[b.ID]++
	return backend.Target{ID: b.ID, Addr: b.Addr, Lease: lease}
}

// enter counts a session of h at a backend and returns the home's stay, nil
// for the zero Home. A home whose backend is down or
// gone moves; one in good health elsewhere, as the stream of a group's member
// may have, is left where it is, unless the caller found it silent and nobody
// else has a session there.
func (m *Memory) enter(snap *backend.Snapshot, h Home, q backend.Query, at backend.ID) *stay {
	if h == (Home{}) {
		return nil
	}
	old, healthy := m.find(snap, h)
	st := m.homes.stays[h]
	if st == nil {
		st = &stay{home: h}
		m.homes.stays[h] = st
	}
	if !healthy || tried(q, old.ID) && st.own.sessions == 0 {
		st.move(at)
	}
	st.enter(at)
	return st
}

// Bind makes a backend the one where later callers of a home go. Sessions
// stay where they are. A home without sessions is not bound.
func (m *Memory) Bind(h Home, id backend.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if st := m.homes.stays[h]; st != nil && st.sessions() > 0 {
		st.move(id)
	}
}

// Used reports whether a home has sessions on a backend.
func (m *Memory) Used(h Home, id backend.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.homes.stays[h]
	if st == nil {
		return false
	}
	p := st.place(id)
	return p != nil && p.sessions > 0
}

// Bindings returns where every home with sessions is bound.
func (m *Memory) Bindings() map[Home]backend.ID {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[Home]backend.ID, len(m.homes.stays))
	for h, st := range m.homes.stays {
		if st.sessions() > 0 {
			all[h] = st.own.at
		}
	}
	return all
}

// Release implements Balancer. A lease that is not known is ignored.
func (m *Memory) Release(l backend.Lease) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.leases.take(l)
	if !ok {
		return
	}
	if m.load[h.at]--; m.load[h.at] == 0 {
		delete(m.load, h.at)
	}
	now := m.clock()
	m.homes.forget(now - m.Affinity)
	m.homes.leave(h.group, h.at, now)
	m.homes.leave(h.stream, h.at, now)
}

// Loads returns what every backend that carries anything carries.
func (m *Memory) Loads() map[backend.ID]Load {
	m.mu.Lock()
	defer m.mu.Unlock()
	loads := make(map[backend.ID]Load, len(m.load))
	for id, n := range m.load {
		loads[id] = Load{Sessions: n}
	}
	for h, st := range m.homes.stays {
		if h.Key != "" && st.sessions() > 0 {
			l := loads[st.own.at]
			l.Streams++
			loads[st.own.at] = l
		}
	}
	return loads
}
