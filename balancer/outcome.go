package balancer

import (
	"maps"
	"math"
	"time"

	"srtrelay/backend"
)

// Report implements Balancer.
func (m *Memory) Report(o backend.Outcome) { m.Settle(o) }

// Settle is Report, and returns the homes that were dropped because their last
// session ended before one had proven the backend. A lease that is not known
// is ignored.
func (m *Memory) Settle(o backend.Outcome) (dropped []Binding) {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(snap)
	now := m.clock()
	if o.Fate == backend.FateBegan {
		m.begin(o.Lease, now)
		return nil
	}
	if h := m.leases.find(o.Lease); h != nil && h.begun && !h.lived && o.Lasted >= provenAfter {
		m.prove(h, now) // the reports came together
	}
	h, ok := m.leases.take(o.Lease)
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
	m.homes.forget(now - m.Affinity)
	for _, st := range []*stay{h.group, h.stream} {
		if b, gone := m.homes.leave(st, h, now); gone {
			dropped = append(dropped, b)
		}
	}
	return dropped
}

// begin notes that the session of a lease is established.
func (m *Memory) begin(l backend.Lease, now time.Duration) {
	h := m.leases.find(l)
	if h == nil || h.begun {
		return
	}
	h.begun = true
	for _, st := range []*stay{h.group, h.stream} {
		if st != nil {
			st.begin(*h)
		}
	}
	m.trials[0] = append(m.trials[0], trial{l, now})
}

// fails reports whether an outcome speaks against the backend, or the caller.
// A death does not: it is known by other ways, and over when the backend
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

// recentFor is how long a placement counts as load at least, and the time in
// which what is over halves: sessions that fail at once must not leave a
// backend with the fewest.
const recentFor = 30 * time.Second

// recent counts, for each backend, the placements that were over soon. An old
// one counts less and less.
type recent map[backend.ID]faded

type faded struct {
	n  float64
	at time.Duration
}

func (f faded) now(now time.Duration) float64 {
	return f.n * math.Exp2(-float64(now-f.at)/float64(recentFor))
}

func (r recent) add(id backend.ID, now time.Duration) { r[id] = faded{r[id].now(now) + 1, now} }

// of returns the count of a backend.
func (r recent) of(id backend.ID, now time.Duration) int { return int(math.Round(r[id].now(now))) }

// sweep forgets the backends that count no more.
func (r recent) sweep(now time.Duration) {
	maps.DeleteFunc(r, func(_ backend.ID, f faded) bool { return f.now(now) < 0.5 })
}
