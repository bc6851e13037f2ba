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
// The exported fields are set before the first call; Set changes some of them later.
type Memory struct {
	// Policy chooses for new streams, PolicyLeastSessions by default.
	Policy Policy
	// Affinity is how long a stream or group stays bound to its backend after
	// its last session, defaultAffinity unless set.
	Affinity time.Duration
	// PlayersCreate, the default, places a stream when its first caller is a
	// player. Without it such a player gets backend.ErrNoStream.
	PlayersCreate bool
	// Outliers, the default, ejects backends that fail callers whom other
	// backends serve.
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

	salt     string          // for the ranks among backends that tie
	intN     func(n int) int // draws for PolicyRandom
	recent   recent
	young    youngSessions
	evidence evidence
	records  map[backend.ID]*record
	unjudged bool          // there is evidence since the last judgement
	judged   time.Duration // when that was
}

// clock is the time since the balancer was made.
func (m *Memory) clock() time.Duration { return m.now().Sub(m.origin) }

// Choice is a backend for a query, and the reason for it.
type Choice struct {
	Backend backend.Backend
	Why     string
	// Bound means that the stream or its group is there already, ByGroup that the group is.
	Bound, ByGroup bool
}

// NewMemory returns a balancer for the backends of a registry. now is the clock.
func NewMemory(r *backend.Registry, now func() time.Time) *Memory {
	return &Memory{
		Policy: PolicyLeastSessions, Affinity: defaultAffinity, PlayersCreate: true, Outliers: true,
		registry: r, now: now, origin: now(),
		bindings: newBindings(0),
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
	l := leased{
		at: b.ID, who: who, publish: q.Publish,
		chosen: !m.isBound(group, b.ID) && !m.isBound(stream, b.ID),
		group:  m.addSession(snap, group, q, who, b.ID), stream: m.addSession(snap, stream, q, who, b.ID),
	}
	if r := m.records[b.ID]; r != nil && r.returning && l.chosen {
		l.trial = true
		r.trials++
	}
	m.load[b.ID]++
	return backend.Target{ID: b.ID, Addr: b.Addr, Lease: m.leases.issue(l)}
}

// isBound reports whether a key has a placement on a backend, so that its callers
// have no choice.
func (m *Memory) isBound(key AffinityKey, id backend.ID) bool {
	b := m.bindings.of(key)
	return b != nil && !m.expired(b) && b.placementAt(id) != nil
}

// addSession counts a session of a key on a backend and returns the binding, nil for
// the zero AffinityKey. A binding to a backend that is down or removed moves. A binding
// to another healthy backend, which the stream of a group's member may have, stays,
// unless the caller failed there and no session is established.
func (m *Memory) addSession(snap *backend.Snapshot, key AffinityKey, q backend.Query, who identity, at backend.ID) *binding {
	if key == (AffinityKey{}) {
		return nil
	}
	b := m.bindings.of(key)
	switch {
	case b == nil:
		b = &binding{stream: key.Stream, group: key.Group}
		m.bindings.add(b)
		b.rebind(at)
	case !m.staysBound(snap, b, q, who):
		b.rebind(at)
	}
	b.addSession(at)
	return b
}

// Bind sends later callers of a key to a backend. Sessions stay where they are. A
// key without sessions is not bound.
func (m *Memory) Bind(key AffinityKey, id backend.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.bindings.of(key); b != nil && b.sessions() > 0 {
		b.rebind(id)
	}
}

// HasSessions reports whether a key has established sessions on a backend.
func (m *Memory) HasSessions(key AffinityKey, id backend.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.bindings.placementOf(key, id)
	return p != nil && p.established > 0
}

// HasPublisher reports whether a key has an established publisher on a backend.
func (m *Memory) HasPublisher(key AffinityKey, id backend.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.bindings.placementOf(key, id)
	return p != nil && p.publishers > 0
}

// IsProven reports whether a key has established sessions on its current backend,
// and one has proven that backend.
func (m *Memory) IsProven(key AffinityKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.bindings.of(key)
	return b != nil && b.current.proven && b.current.established > 0
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
	all := make([]Binding, 0, m.bindings.count)
	for b := range m.bindings.all() {
		if b.sessions() > 0 {
			all = append(all, Binding{b.key(), b.current.at, b.current.proven, b.current.publishers > 0})
		}
	}
	return all
}

// InUse reports whether a backend has sessions.
func (m *Memory) InUse(id backend.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.load[id] > 0
}

// Loads returns the loads of the backends that have any.
func (m *Memory) Loads() map[backend.ID]Load {
	m.mu.Lock()
	defer m.mu.Unlock()
	loads := make(map[backend.ID]Load, len(m.load))
	for id, n := range m.load {
		loads[id] = Load{Sessions: n}
	}
	for b := range m.bindings.all() {
		if b.stream != "" && b.sessions() > 0 {
			l := loads[b.current.at]
			l.Streams++
			loads[b.current.at] = l
		}
	}
	return loads
}
