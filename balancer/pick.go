package balancer

import (
	"context"
	"fmt"

	"srtrelay/backend"
)

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
	c, err := m.Prefer(q, m.Settings().Policy)
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

// ErrGroupElsewhere is a backend.ErrNone: a member's bonding group is on a backend that cannot
// take it.
var ErrGroupElsewhere = fmt.Errorf("%w to the caller's bonding group", backend.ErrNone)

func tried(q backend.Query, id backend.ID) bool { return id == q.Tried[0] || id == q.Tried[1] }

func (m *Memory) prefer(snap *backend.Snapshot, q backend.Query, p Policy, create bool) (Choice, error) {
	m.advance(snap)
	who := m.evidence.identify(q)
	group, stream := AffinityKeys(q)
	if b, ok := m.find(snap, group, q, who); ok {
		return Choice{Backend: b, Why: "its bonding group is there", Bound: true, ByGroup: true}, nil
	}
	if m.livesElsewhere(snap, group) {
		return Choice{}, ErrGroupElsewhere
	}
	if b, ok := m.find(snap, stream, q, who); ok {
		return Choice{Backend: b, Why: "the stream is there", Bound: true}, nil
	}
	// A caller that has tried a backend was sent there because the stream was there.
	if !q.Publish && !create && q.Tried == [2]backend.ID{} {
		return Choice{}, backend.ErrNoStream
	}
	best, skipped := m.gatherCandidates(snap, q, who)
	b, why, err := m.choose(p, q.Key, m.candidates)
	clear(m.candidates) // or they would keep an old snapshot alive
	if err != nil {
		return Choice{}, err
	}
	return Choice{Backend: *b, Why: why + best.why() + skipped}, nil
}

// find returns the backend to which a key is bound, if it can serve the caller. A
// backend that is draining or late keeps its streams. A backend where the caller has
// failed, or that is ejected, is skipped unless sessions of the key are established
// there. The other placements of the key come after the current one.
func (m *Memory) find(snap *backend.Snapshot, key AffinityKey, q backend.Query, who identity) (backend.Backend, bool) {
	b := m.bindings.of(key)
	if b == nil || m.expired(b) {
		return backend.Backend{}, false
	}
	usable := func(p *placement) (backend.Backend, bool) {
		at, ok := snap.Find(p.at)
		return at, ok && !at.Down && !tried(q, at.ID) && !m.avoids(p, who)
	}
	if at, ok := usable(&b.current); ok {
		return at, true
	}
	for k := range b.others() {
		if at, ok := usable(&b.others()[k]); ok {
			return at, true
		}
	}
	return backend.Backend{}, false
}

// livesElsewhere reports whether a bonding group has established sessions on a backend
// that find skips: one that this caller has tried, or that is down but not gone. Another
// would serve the caller as a group of its own, which libsrt then refuses.
func (m *Memory) livesElsewhere(snap *backend.Snapshot, group AffinityKey) bool {
	b := m.bindings.of(group)
	if b == nil || b.current.established == 0 {
		return false
	}
	at, ok := snap.Find(b.current.at)
	return ok && !(at.Down && at.Gone)
}

// avoids reports whether a caller skips a placement of its key.
func (m *Memory) avoids(p *placement, who identity) bool {
	if p.established > 0 {
		return false
	}
	r := m.records[p.at]
	return m.evidence.hasFailed(who, p.at) || r != nil && r.ejected && p.sessions == 0
}

// staysBound reports whether a binding stays although this caller goes elsewhere. Lost
// probes do not separate players from a publisher.
func (m *Memory) staysBound(snap *backend.Snapshot, b *binding, q backend.Query, who identity) bool {
	at, ok := snap.Find(b.current.at)
	switch {
	case !ok || m.expired(b):
		return false
	case at.Down:
		return !at.Gone && b.current.publishers > 0
	}
	return b.current.established > 0 || !tried(q, at.ID) && !m.avoids(&b.current, who)
}

// expired reports whether a binding has been without sessions for Affinity.
func (m *Memory) expired(b *binding) bool {
	return b.sessions() == 0 && m.clock()-b.emptied >= m.Affinity
}
