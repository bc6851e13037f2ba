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
	if h := m.leases.find(o.Lease); h != nil && h.established && !h.lived && o.Lasted >= provenAfter {
		m.prove(h, now) // the reports came together
	}
	h, ok := m.leases.release(o.Lease)
	if !ok {
		return nil
	}
	if m.load[h.at]--; m.load[h.at] == 0 {
		delete(m.load, h.at)
	}
	if h.chosen && o.Lasted < recentFor {
		m.recent.add(h.at, now)
	}
	failed := fails(o)
	if failed {
		m.evidence.fail(h, now, o.Lasted)
		if h.counted {
			m.evidence.unhold(h)
		}
		m.unweighed = true
	}
	if r := m.records[h.at]; r != nil {
		r.leave(h, now, failed)
	}
	m.bindings.expire(now - m.Affinity)
	for _, st := range []*binding{h.group, h.stream} {
		if b, gone := m.bindings.removeSession(st, h, now); gone {
			dropped = append(dropped, b)
		}
	}
	return dropped
}

// establish notes that the session of a lease is established.
func (m *Memory) establish(l backend.Lease, now time.Duration) {
	h := m.leases.find(l)
	if h == nil || h.established {
		return
	}
	h.established = true
	for _, st := range []*binding{h.group, h.stream} {
		if st != nil {
			st.establish(*h)
		}
	}
	m.trials[0] = append(m.trials[0], trial{l, now})
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

// recentFor is how long a placement counts as load at least, and the half-life of
// the count of those that ended sooner: sessions that fail at once must not leave
// their backend with the fewest.
const recentFor = 30 * time.Second

// recent counts, for each backend, the placements that ended soon. The counts decay.
type recent map[backend.ID]decaying

type decaying struct {
	n  float64
	at time.Duration
}

func (f decaying) now(now time.Duration) float64 {
	return f.n * math.Exp2(-float64(now-f.at)/float64(recentFor))
}

func (r recent) add(id backend.ID, now time.Duration) { r[id] = decaying{r[id].now(now) + 1, now} }

// of returns the count of a backend.
func (r recent) of(id backend.ID, now time.Duration) int { return int(math.Round(r[id].now(now))) }

// sweep removes the backends whose count has decayed.
func (r recent) sweep(now time.Duration) {
	maps.DeleteFunc(r, func(_ backend.ID, f decaying) bool { return f.now(now) < 0.5 })
}
