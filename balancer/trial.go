package balancer

import (
	"time"

	"srtrelay/backend"
)

// trial is an established session that has not proven its backend yet.
type trial struct {
	lease backend.Lease
	begun time.Duration
}

// ages are those at which a session tells something.
var ages = [...]time.Duration{holdsAfter, holdsLonger, provenAfter}

// trials are the sessions that have not reached each of the ages yet, in the
// order of time. There are no more than began within provenAfter.
type trials [len(ages)][]trial

// pass removes the trials that have reached an age and calls fn for each.
func pass(list []trial, now, age time.Duration, fn func(trial)) []trial {
	n := 0
	for n < len(list) && now-list[n].begun >= age {
		fn(list[n])
		n++
	}
	if n == len(list) {
		return list[:0] // or the array would be used up and made anew
	}
	return list[n:]
}

// advance does what time brings: sessions prove their backends, old failures
// are forgotten, ejections end, and the evidence is weighed.
func (m *Memory) advance(snap *backend.Snapshot) {
	now := m.clock()
	if m.evidence.age(now) {
		m.recent.sweep(now)
	}
	for k, age := range ages {
		m.trials[k] = pass(m.trials[k], now, age, func(t trial) {
			h := m.leases.find(t.lease)
			if h == nil {
				return
			}
			if m.reach(h, k, now); k+1 < len(ages) {
				m.trials[k+1] = append(m.trials[k+1], t)
			}
		})
	}
	if !m.Outliers {
		return
	}
	m.startReturns(now)
	if m.unweighed && now-m.weighed >= judgeEvery {
		m.judge(snap, now)
		m.unweighed, m.weighed = false, now
	}
}

// reach notes that the session of a lease has reached one of the ages.
func (m *Memory) reach(h *leased, k int, now time.Duration) {
	switch {
	case ages[k] == provenAfter:
		m.prove(h, now)
		return
	case k == 0 && h.chosen:
		m.evidence.hold(h)
	}
	m.unweighed = m.evidence.outlive(h, ages[k]) || m.unweighed
}

// prove notes that the session of a lease has lived for provenAfter.
func (m *Memory) prove(h *leased, now time.Duration) {
	h.lived = true
	for _, st := range []*binding{h.group, h.stream} {
		if st != nil {
			st.prove(*h)
		}
	}
	if t := m.evidence.tally(cohort{h.who.source, h.publish}); t != nil && h.chosen {
		t.proven++
	}
	m.unweighed = m.evidence.outlive(h, provenAfter) || m.unweighed
	m.record(h.at).live(h, now)
}
