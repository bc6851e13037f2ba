package balancer

import (
	"maps"
	"math"
	"time"

	"srtrelay/backend"
)

// Report implements Balancer.
func (m *Memory) Report(o backend.Outcome) { m.Release(o) }

// Release is Report, and returns the bindings that were dropped because their last
// session ended before one had proven the backend. It ignores an unknown lease.
func (m *Memory) Release(o backend.Outcome) (dropped []Binding) {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(snap)
	now := m.clock()
	if o.Fate == backend.FateBegan {
		m.establish(o.Lease, now)
		return nil
	}
	if l := m.leases.find(o.Lease); l != nil && l.established && !l.proven && o.Lasted >= provenAfter {
		m.prove(l, now) // its establishment and its end were reported together
	}
	l, ok := m.leases.release(o.Lease)
	if !ok {
		return nil
	}
	if l.chosen && o.Lasted < recentFor {
		m.recent.add(l.at, now)
	}
	failed := fails(o)
	if failed {
		m.evidence.noteFailure(l, now, o.Lasted)
		if l.survived {
			m.evidence.discountSurvivor(l)
		}
		m.unjudged = true
	}
	m.bindings.expire(now - m.Affinity)
	return m.removeSession(dropped, l, now, failed)
}

// removeSession removes the session of a lease that was released. It appends the
// bindings that are dropped with it.
func (m *Memory) removeSession(dropped []Binding, l leased, now time.Duration, failed bool) []Binding {
	if m.load[l.at]--; m.load[l.at] == 0 {
		delete(m.load, l.at)
	}
	if r := m.records[l.at]; r != nil {
		r.removeSession(l, now, failed)
	}
	for _, b := range []*binding{l.group, l.stream} {
		if d, ok := m.bindings.removeSession(b, l, now); ok {
			dropped = append(dropped, d)
		}
	}
	return dropped
}

// Knows reports whether a lease has been issued and not released.
func (m *Memory) Knows(l backend.Lease) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leases.find(l) != nil
}

// ReleaseExcept releases the leases that nobody holds after a take-over, and returns how
// many, and the bindings that were dropped with them. They say nothing of their backends:
// the callers whose choice was under way ask again.
func (m *Memory) ReleaseExcept(held func(backend.Lease) bool) (released int, dropped []Binding) {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(snap)
	now := m.clock()
	for i := range uint32(m.leases.slots.Len()) {
		lease := m.leases.number(i)
		if m.leases.slots.At(i).at == "" || held(lease) {
			continue
		}
		l, _ := m.leases.release(lease)
		dropped = m.removeSession(dropped, l, now, false)
		released++
	}
	return released, dropped
}

// establish notes that the session of a lease is established.
func (m *Memory) establish(lease backend.Lease, now time.Duration) {
	l := m.leases.find(lease)
	if l == nil || l.established {
		return
	}
	l.established = true
	for _, b := range []*binding{l.group, l.stream} {
		if b != nil {
			b.establish(*l)
		}
	}
	m.young[0] = append(m.young[0], youngSession{lease, now})
}

// fails reports whether an outcome is the fault of the backend or the caller. The
// death of a backend is not: the prober finds it, and it ends when the backend
// answers again.
func fails(o backend.Outcome) bool {
	switch o.Fate {
	case backend.FateRefused, backend.FateSilent:
		return true
	case backend.FateClosed:
		return o.Lasted < provenAfter
	}
	return false
}

// A placement counts as load for recentFor at least, also after its session has ended,
// and the count has this half-life: otherwise a backend whose sessions fail at once
// would have the fewest sessions.
const recentFor = 30 * time.Second

// recent counts, for each backend, the placements that ended within recentFor. The
// counts decay.
type recent map[backend.ID]decaying

type decaying struct {
	n  float64
	at time.Duration
}

func (d decaying) now(now time.Duration) float64 {
	return d.n * math.Exp2(-float64(now-d.at)/float64(recentFor))
}

func (r recent) add(id backend.ID, now time.Duration) { r[id] = decaying{r[id].now(now) + 1, now} }

// of returns the count of a backend.
func (r recent) of(id backend.ID, now time.Duration) int { return int(math.Round(r[id].now(now))) }

// isAhead reports whether a count is of a time to come: it would grow instead of decaying.
func (r recent) isAhead(now time.Duration) bool {
	for _, d := range r {
		if d.at > now {
			return true
		}
	}
	return false
}

// sweep removes the backends whose count has decayed.
func (r recent) sweep(now time.Duration) {
	maps.DeleteFunc(r, func(_ backend.ID, d decaying) bool { return d.now(now) < 0.5 })
}
