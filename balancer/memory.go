package balancer

import (
	crand "crypto/rand"
	"math/rand/v2"
	"sync"
	"time"

	"srtrelay/backend"
)

// defaultAffinity is how long a stream stays bound to its backend after its last
// session, so that a publisher that reconnects finds its players.
const defaultAffinity = 15 * time.Second

// Memory is the Balancer of a single relay: all sessions of one stream, or of
// one bonding group, on one backend for as long as that backend is not down.
// The exported fields are set before the first call.
type Memory struct {
	// Policy chooses for new streams, PolicyLeastSessions by default.
	Policy Policy
	// Affinity is how long a stream or group stays bound to its backend after
	// its last session, defaultAffinity unless set.
	Affinity time.Duration
	// PlayersCreate, the default, places a stream when its first caller is a
	// player. Without it such a player gets backend.ErrNoStream.
	PlayersCreate bool
	// Outliers, the default, ejects backends that fail their callers as others
	// do not.
	Outliers bool
	// Bitrate, if not nil, returns the present bitrate of a backend in bit/s. It
	// is called under a lock and must not block.
	Bitrate func(backend.ID) float64

	registry *backend.Registry
	now      func() time.Time
	origin   time.Time // what clock counts from

	mu         sync.Mutex
	bindings   bindings
	leases     leases
	load       map[backend.ID]int
	candidates []*backend.Backend // scratch of prefer, pointing into its snapshot

	salt      string          // of the ranks among equals
	intN      func(n int) int // draws for Random
	recent    recent
	trials    trials
	evidence  evidence
	records   map[backend.ID]*record
	unweighed bool          // there is evidence that was not weighed
	weighed   time.Duration // when it last was
}

// clock is the time since the balancer was made.
func (m *Memory) clock() time.Duration { return m.now().Sub(m.origin) }

// Choice is a backend for a query, and the reason for it.
type Choice struct {
	Backend backend.Backend
	Why     string
	// Bound means that the stream or its group is there already.
	Bound bool
}

// NewMemory returns a balancer for the backends of a registry. now is the clock.
func NewMemory(r *backend.Registry, now func() time.Time) *Memory {
	return &Memory{
		Policy: PolicyLeastSessions, Affinity: defaultAffinity, PlayersCreate: true, Outliers: true,
		registry: r, now: now, origin: now(),
		bindings: bindings{byKey: make(map[AffinityKey]*binding)},
		load:     make(map[backend.ID]int),
		salt:     "\x00" + crand.Text(),
		intN:     rand.IntN,
		recent:   recent{}, evidence: newEvidence(), records: make(map[backend.ID]*record),
	}
}

// Admit issues a lease on a backend that the caller chose for a query.
func (m *Memory) Admit(q backend.Query, b backend.Backend) backend.Target {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.admit(snap, q, b)
}

func (m *Memory) admit(snap *backend.Snapshot, q backend.Query, b backend.Backend) backend.Target {
	m.bindings.expire(m.clock() - m.Affinity)
	who := m.evidence.identify(q)
	group, stream := AffinityKeys(q)
	h := leased{
		at: b.ID, who: who, publish: q.Publish,
		chosen: !m.isBound(group, b.ID) && !m.isBound(stream, b.ID),
		group:  m.addSession(snap, group, q, who, b.ID), stream: m.addSession(snap, stream, q, who, b.ID),
	}
	if r := m.records[b.ID]; r != nil && r.returning && h.chosen {
		h.trial = true
		r.pending++
	}
	m.load[b.ID]++
	return backend.Target{ID: b.ID, Addr: b.Addr, Lease: m.leases.issue(h)}
}

// isBound reports whether a key has a placement on a backend, so that its callers
// have no choice.
func (m *Memory) isBound(h AffinityKey, id backend.ID) bool {
	st := m.bindings.byKey[h]
	return st != nil && !m.expired(st) && st.placementAt(id) != nil
}

// addSession counts a session of h on a backend and returns the binding, nil for the
// zero AffinityKey. A binding to a backend that is down or removed moves. A binding
// to another healthy backend, which the stream of a group's member may have, stays,
// unless the caller failed there and no session is established.
func (m *Memory) addSession(snap *backend.Snapshot, h AffinityKey, q backend.Query, who identity, at backend.ID) *binding {
	if h == (AffinityKey{}) {
		return nil
	}
	st := m.bindings.byKey[h]
	switch {
	case st == nil:
		st = &binding{key: h}
		m.bindings.byKey[h] = st
		st.rebind(at)
	case !m.keeps(snap, st, q, who):
		st.rebind(at)
	}
	st.addSession(at)
	return st
}

// Bind sends later callers of a key to a backend. Sessions stay where they are. A
// key without sessions is not bound.
func (m *Memory) Bind(h AffinityKey, id backend.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if st := m.bindings.byKey[h]; st != nil && st.sessions() > 0 {
		st.rebind(id)
	}
}

// HasSessions reports whether a key has established sessions on a backend.
func (m *Memory) HasSessions(h AffinityKey, id backend.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.bindings.byKey[h]
	if st == nil {
		return false
	}
	p := st.placementAt(id)
	return p != nil && p.established > 0
}

// HasPublisher reports whether a key has an established publisher on a backend.
func (m *Memory) HasPublisher(h AffinityKey, id backend.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.bindings.byKey[h]
	if st == nil {
		return false
	}
	p := st.placementAt(id)
	return p != nil && p.publishers > 0
}

// IsProven reports whether a key has established sessions on its current backend,
// and one has proven that backend.
func (m *Memory) IsProven(h AffinityKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.bindings.byKey[h]
	return st != nil && st.current.proven && st.current.established > 0
}

// HasFailed reports whether a caller has recently failed at a backend.
func (m *Memory) HasFailed(q backend.Query, id backend.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.evidence.hasFailed(m.evidence.identify(q), id)
}

// Bindings returns the bindings that have sessions.
func (m *Memory) Bindings() []Binding {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(snap)
	all := make([]Binding, 0, len(m.bindings.byKey))
	for h, st := range m.bindings.byKey {
		if st.sessions() > 0 {
			all = append(all, Binding{h, st.current.at, st.current.proven, st.current.publishers > 0})
		}
	}
	return all
}

// Loads returns the loads of the backends that have any.
func (m *Memory) Loads() map[backend.ID]Load {
	m.mu.Lock()
	defer m.mu.Unlock()
	loads := make(map[backend.ID]Load, len(m.load))
	for id, n := range m.load {
		loads[id] = Load{Sessions: n}
	}
	for h, st := range m.bindings.byKey {
		if h.Stream != "" && st.sessions() > 0 {
			l := loads[st.current.at]
			l.Streams++
			loads[st.current.at] = l
		}
	}
	return loads
}
