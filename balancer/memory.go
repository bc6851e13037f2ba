package balancer

import (
	"context"
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

// Pick implements Balancer.
func (m *Memory) Pick(_ context.Context, q backend.Query) (backend.Target, error) {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := m.prefer(snap, q, m.Policy, m.PlayersCreate)
	if err != nil {
		return backend.Target{}, err
	}
	return m.admit(snap, q, c.Backend), nil
}

// Explain returns where Pick would send a query, and why. It changes nothing, and
// the Target has no lease.
func (m *Memory) Explain(q backend.Query) (backend.Target, string, error) {
	c, err := m.Prefer(q, m.Policy)
	return backend.Target{ID: c.Backend.ID, Addr: c.Backend.Addr}, c.Why, err
}

// Prefer returns what Pick would choose by a policy, and changes nothing.
func (m *Memory) Prefer(q backend.Query, p Policy) (Choice, error) {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.prefer(snap, q, p, m.PlayersCreate)
}

// PreferAny is Prefer as if PlayersCreate were set.
func (m *Memory) PreferAny(q backend.Query, p Policy) (Choice, error) {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.prefer(snap, q, p, true)
}

// Admit issues a lease on a backend that the caller chose for a query.
func (m *Memory) Admit(q backend.Query, b backend.Backend) backend.Target {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.admit(snap, q, b)
}

func tried(q backend.Query, id backend.ID) bool { return id == q.Tried[0] || id == q.Tried[1] }

func (m *Memory) prefer(snap *backend.Snapshot, q backend.Query, p Policy, create bool) (Choice, error) {
	m.advance(snap)
	who := m.evidence.identify(q)
	group, stream := AffinityKeys(q)
	if b, ok := m.find(snap, group, q, who); ok {
		return Choice{b, "its bonding group is there", true}, nil
	}
	if b, ok := m.find(snap, stream, q, who); ok {
		return Choice{b, "the stream is there", true}, nil
	}
	// A caller that has tried a backend was sent there, so the stream was there.
	if !q.Publish && !create && q.Tried == [2]backend.ID{} {
		return Choice{}, backend.ErrNoStream
	}
	best, passed := m.gatherCandidates(snap, q, who)
	b, why, err := m.choose(p, q.Key, m.candidates)
	clear(m.candidates) // must not keep a snapshot that is no longer in force
	if err != nil {
		return Choice{}, err
	}
	return Choice{Backend: *b, Why: why + best.why() + passed}, nil
}

// find returns the backend to which h is bound, if it can serve the caller. A
// backend that is draining or late keeps its streams. A backend where the caller
// has failed, or that is ejected, is skipped unless sessions of h are established
// there. The other placements of h come after the current one.
func (m *Memory) find(snap *backend.Snapshot, h AffinityKey, q backend.Query, who identity) (backend.Backend, bool) {
	st := m.bindings.byKey[h]
	if st == nil || m.expired(st) {
		return backend.Backend{}, false
	}
	fit := func(p *placement) (backend.Backend, bool) {
		b, ok := snap.Find(p.at)
		return b, ok && !b.Down && !tried(q, b.ID) && !m.avoids(p, who)
	}
	if b, ok := fit(&st.current); ok {
		return b, true
	}
	for k := range st.others {
		if b, ok := fit(&st.others[k]); ok {
			return b, true
		}
	}
	return backend.Backend{}, false
}

// avoids reports whether a caller skips a placement of its key.
func (m *Memory) avoids(p *placement, who identity) bool {
	if p.established > 0 {
		return false
	}
	r := m.records[p.at]
	return m.evidence.hasFailed(who, p.at) || r != nil && r.ejected && p.sessions == 0
}

// keeps reports whether a key stays bound to its backend although this caller goes
// elsewhere. Lost probes do not separate players from a publisher.
func (m *Memory) keeps(snap *backend.Snapshot, st *binding, q backend.Query, who identity) bool {
	b, ok := snap.Find(st.current.at)
	switch {
	case !ok || m.expired(st):
		return false
	case b.Down:
		return !b.Gone && st.current.publishers > 0
	}
	return st.current.established > 0 || !tried(q, b.ID) && !m.avoids(&st.current, who)
}

// expired reports whether a binding has been without sessions for Affinity.
func (m *Memory) expired(st *binding) bool {
	return st.sessions() == 0 && m.clock()-st.emptied >= m.Affinity
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
