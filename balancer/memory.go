package balancer

import (
	"context"
	crand "crypto/rand"
	"math/rand/v2"
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
	// Outliers has backends that fail their callers, as others do not, left out
	// of the choice for a while, which is the default.
	Outliers bool
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

	salt      string          // of the ranks among equals
	intN      func(n int) int // draws for Random
	recent    recent
	trials    trials
	evidence  evidence
	records   map[backend.ID]*record
	unweighed bool          // there is evidence that was not weighed
	weighed   time.Duration // when it last was
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
		Policy: LeastSessions, Affinity: Linger, PlayersCreate: true, Outliers: true,
		registry: r, now: now, origin: now(),
		homes:  homes{stays: make(map[Home]*stay)},
		load:   make(map[backend.ID]int),
		salt:   "\x00" + crand.Text(),
		intN:   rand.IntN,
		recent: recent{}, evidence: newEvidence(), records: make(map[backend.ID]*record),
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
	return m.prefer(snap, q, p, m.PlayersCreate)
}

// PreferAny is Prefer that lets every player choose the backend of a stream
// that is not there.
func (m *Memory) PreferAny(q backend.Query, p Policy) (Choice, error) {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.prefer(snap, q, p, true)
}

// Admit gives a lease on a backend that somebody else chose for a query.
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
	group, stream := HomesOf(q)
	if b, ok := m.find(snap, group, q, who); ok {
		return Choice{b, "its bonding group is there", true}, nil
	}
	if b, ok := m.find(snap, stream, q, who); ok {
		return Choice{b, "the stream is there", true}, nil
	}
	// Whoever has tried a backend was sent there, so the stream was there.
	if !q.Publish && !create && q.Tried == [2]backend.ID{} {
		return Choice{}, backend.ErrNoStream
	}
	best, passed := m.gather(snap, q, who)
	b, why, err := m.choose(p, q.Key, m.takers)
	clear(m.takers) // must not keep a snapshot that is no longer in force
	if err != nil {
		return Choice{}, err
	}
	return Choice{Backend: *b, Why: why + best.why() + passed}, nil
}

// find returns where a caller of h goes, if that backend lives. One that is
// draining or whose heartbeat is late keeps the streams that it has. Where the
// caller has failed, or that is ejected, is passed over unless sessions of h
// are established there; then its other callers' places count as well.
func (m *Memory) find(snap *backend.Snapshot, h Home, q backend.Query, who identity) (backend.Backend, bool) {
	st := m.homes.stays[h]
	if st == nil || m.over(st) {
		return backend.Backend{}, false
	}
	fit := func(p *place) (backend.Backend, bool) {
		b, ok := snap.Find(p.at)
		return b, ok && !b.Down && !tried(q, b.ID) && !m.passes(p, who)
	}
	if b, ok := fit(&st.own); ok {
		return b, true
	}
	for k := range st.others {
		if b, ok := fit(&st.others[k]); ok {
			return b, true
		}
	}
	return backend.Backend{}, false
}

// passes reports whether a caller passes over a place of its home.
func (m *Memory) passes(p *place, who identity) bool {
	if p.begun > 0 {
		return false
	}
	r := m.records[p.at]
	return m.evidence.shuns(who, p.at) || r != nil && r.ejected && p.sessions == 0
}

// keeps reports whether a home stays bound to its backend though this caller
// goes elsewhere. Probes that are lost do not part players from a publisher.
func (m *Memory) keeps(snap *backend.Snapshot, st *stay, q backend.Query, who identity) bool {
	b, ok := snap.Find(st.own.at)
	switch {
	case !ok || m.over(st):
		return false
	case b.Down:
		return !b.Gone && st.own.publishers > 0
	}
	return st.own.begun > 0 || !tried(q, b.ID) && !m.passes(&st.own, who)
}

// over reports whether the home has been empty for too long to be bound.
func (m *Memory) over(st *stay) bool {
	return st.sessions() == 0 && m.clock()-st.left >= m.Affinity
}

func (m *Memory) admit(snap *backend.Snapshot, q backend.Query, b backend.Backend) backend.Target {
	m.homes.forget(m.clock() - m.Affinity)
	who := m.evidence.identify(q)
	group, stream := HomesOf(q)
	h := held{
		at: b.ID, who: who, publish: q.Publish,
		chosen: !m.at(group, b.ID) && !m.at(stream, b.ID),
		group:  m.enter(snap, group, q, who, b.ID), stream: m.enter(snap, stream, q, who, b.ID),
	}
	if r := m.records[b.ID]; r != nil && r.returning && h.chosen {
		h.trial = true
		r.pending++
	}
	m.load[b.ID]++
	return backend.Target{ID: b.ID, Addr: b.Addr, Lease: m.leases.give(h)}
}

// at reports whether a home is on a backend, so that its callers have no
// choice.
func (m *Memory) at(h Home, id backend.ID) bool {
	st := m.homes.stays[h]
	return st != nil && !m.over(st) && st.place(id) != nil
}

// enter counts a session of h at a backend and returns the home's stay, nil
// for the zero Home. A home whose backend is down or gone moves; one in good
// health elsewhere, as the stream of a group's member may have, is left where
// it is, unless the caller failed there and nobody's session is established.
func (m *Memory) enter(snap *backend.Snapshot, h Home, q backend.Query, who identity, at backend.ID) *stay {
	if h == (Home{}) {
		return nil
	}
	st := m.homes.stays[h]
	switch {
	case st == nil:
		st = &stay{home: h}
		m.homes.stays[h] = st
		st.move(at)
	case !m.keeps(snap, st, q, who):
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

// Lives reports whether a home has established sessions on a backend.
func (m *Memory) Lives(h Home, id backend.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.homes.stays[h]
	if st == nil {
		return false
	}
	p := st.place(id)
	return p != nil && p.begun > 0
}

// Published reports whether a home has an established publisher on a backend.
func (m *Memory) Published(h Home, id backend.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.homes.stays[h]
	if st == nil {
		return false
	}
	p := st.place(id)
	return p != nil && p.publishers > 0
}

// Proven reports whether a home has established sessions where it is bound, and
// one has proven that backend.
func (m *Memory) Proven(h Home) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	st := m.homes.stays[h]
	return st != nil && st.own.proven && st.own.begun > 0
}

// Shuns reports whether a caller has lately failed at a backend.
func (m *Memory) Shuns(q backend.Query, id backend.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.evidence.shuns(m.evidence.identify(q), id)
}

// Bindings returns where every home with sessions is bound.
func (m *Memory) Bindings() []Binding {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(snap)
	all := make([]Binding, 0, len(m.homes.stays))
	for h, st := range m.homes.stays {
		if st.sessions() > 0 {
			all = append(all, Binding{h, st.own.at, st.own.proven, st.own.publishers > 0})
		}
	}
	return all
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
