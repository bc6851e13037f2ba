package balancer

import (
	"time"

	"srtrelay/backend"
)

const (
	// survivedAfter is the age from which a session counts against the failures of
	// the same request, or of its cohort, elsewhere: most hooks refuse sooner.
	survivedAfter = 150 * time.Millisecond
	// survivedLonger is the age from which it counts against failures by slow hooks.
	survivedLonger = 600 * time.Millisecond
	// provenAfter is the age from which a session proves its backend.
	provenAfter = 2 * time.Second
)

// milestones are the ages at which a session says something about its backend.
var milestones = [...]time.Duration{survivedAfter, survivedLonger, provenAfter}

// youngSession is an established session that has not proven its backend yet.
type youngSession struct {
	lease backend.Lease
	begun time.Duration
}

// youngSessions are, by milestone, the sessions that have it before them, the oldest
// first. They all began within provenAfter.
type youngSessions [len(milestones)][]youngSession

// removeOlder removes the sessions that have reached an age and calls fn for each.
func removeOlder(list []youngSession, now, age time.Duration, fn func(youngSession)) []youngSession {
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

// advance does what is due: sessions reach milestones, old failures are forgotten,
// ejections end, and backends are judged.
func (m *Memory) advance(snap *backend.Snapshot) {
	now := m.clock()
	if m.evidence.rotate(now) {
		m.recent.sweep(now)
	}
	for k, age := range milestones {
		m.young[k] = removeOlder(m.young[k], now, age, func(s youngSession) {
			l := m.leases.find(s.lease)
			if l == nil {
				return
			}
			if m.reachMilestone(l, k, now); k+1 < len(milestones) {
				m.young[k+1] = append(m.young[k+1], s)
			}
		})
	}
	if !m.Outliers {
		return
	}
	m.startReturns(now)
	if m.unjudged && now-m.judged >= judgeInterval {
		m.judge(snap, now)
		m.unjudged, m.judged = false, now
	}
}

// reachMilestone notes that the session of a lease has reached milestones[k].
func (m *Memory) reachMilestone(l *leased, k int, now time.Duration) {
	switch {
	case milestones[k] == provenAfter:
		m.prove(l, now)
		return
	case k == 0 && l.chosen:
		m.evidence.countSurvivor(l)
	}
	m.unjudged = m.evidence.noteSurvival(l, milestones[k]) || m.unjudged
}

// prove notes that the session of a lease has lived for provenAfter.
func (m *Memory) prove(l *leased, now time.Duration) {
	l.proven = true
	for _, b := range []*binding{l.group, l.stream} {
		if b != nil {
			b.prove(*l)
		}
	}
	if s := m.evidence.survivors(l.cohort()); s != nil && l.chosen {
		s.proven++
	}
	m.unjudged = m.evidence.noteSurvival(l, provenAfter) || m.unjudged
	m.record(l.at).prove(l, now)
}
