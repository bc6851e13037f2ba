package balancer

import (
	"fmt"
	"maps"
	"math/bits"
	"time"

	"srtrelay/backend"
)

// Outlier detection; docs/adr has the reasoning.
const (
	// holdsAfter is the age from which a session counts against what the same
	// request, or its source, met elsewhere: most hooks refuse sooner.
	holdsAfter = 150 * time.Millisecond
	// holdsLonger is for hooks that take their time.
	holdsLonger = 600 * time.Millisecond
	// provenAfter is the age from which a session proves its backend.
	provenAfter = 2 * time.Second
	// outlasts is how many times as long a session must have lived elsewhere.
	outlasts = 3
	// leastFailures are the callers that must have failed at a backend before
	// it is ejected, and the most of one source that count.
	leastFailures = 3
	// timesOthers is how many times the others' share of failures a backend's
	// own must be. It must also be half of its callers.
	timesOthers = 3
	// livedKept are the last sessions of a backend that proved it.
	livedKept = 32

	// ejectFor is how long a backend is ejected, times how often it was; a
	// time is forgotten for every forgiveEvery that it goes without.
	ejectFor, ejectMost = 30 * time.Second, 5 * time.Minute
	forgiveEvery        = time.Minute
	// firmAfter is how long an ejection may be taken back, because what spoke
	// for it does so no longer.
	firmAfter = 3 * time.Second
	// A backend that returns gets one stream at a time, then two, then four.
	// When as many have proven it, which is returnProofs in all, it is one of
	// the others again. After one that failed it waits, and begins with one.
	returnSteps  = 3
	returnProofs = 1<<returnSteps - 1
	returnPause  = 5 * time.Second
	// judgeEvery bounds how often the evidence is weighed.
	judgeEvery = 50 * time.Millisecond
)

// record is what the balancer thinks of one backend.
type record struct {
	lived     [livedKept]life // a ring
	lives     int             // sessions that ever lived
	lastLived time.Duration   // when one was last known to
	living    int             // sessions that have lived and go on

	ejected   bool
	returning bool          // its time is over, and a few streams try it
	since     time.Duration // of the ejection
	until     time.Duration // when the backend may be tried
	why       string
	need      int           // failures that the ejection needs
	times     int           // ejections not yet forgiven
	total     uint64        // ejections ever
	acquitted time.Duration // what was before is no evidence
	forgiven  time.Duration // from when on times is forgiven
	pending   int           // trials under way
	passed    int           // trials that proved the backend
}

// life is a session that proved a backend.
type life struct {
	source uint64
	begun  time.Duration
}

// Ejection is what an operator sees of a backend that was ejected.
type Ejection struct {
	// Ejected says that it is so now; Returning, that its time is over and a
	// few streams try it. Until and Why belong to that.
	Ejected, Returning bool
	Until              time.Time
	Why                string
	// Times counts all of its ejections.
	Times uint64
}

// Ejections returns the backends that were ever ejected.
func (m *Memory) Ejections() map[backend.ID]Ejection {
	snap := m.registry.Snapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(snap)
	all := map[backend.ID]Ejection{}
	for id, r := range m.records {
		if r.total == 0 {
			continue
		}
		e := Ejection{Times: r.total}
		if r.ejected {
			e.Ejected, e.Returning, e.Until, e.Why = true, r.returning, m.origin.Add(r.until), r.why
		}
		all[id] = e
	}
	return all
}

// record returns what is known of a backend. There are no more than backends.
func (m *Memory) record(id backend.ID) *record {
	r := m.records[id]
	if r == nil {
		r = new(record)
		m.records[id] = r
	}
	return r
}

// isBarred reports whether a backend gets no new streams while others can take
// them: it is ejected, or enough streams try it already.
func (m *Memory) isBarred(id backend.ID, now time.Duration) bool {
	r := m.records[id]
	return r != nil && r.ejected && (now < r.until || r.pending >= r.maxTrials())
}

// maxTrials returns how many streams may try a backend that returns at the same
// time: 1 until one has proven it, 2 until three have, then 4.
func (r *record) maxTrials() int { return 1 << (bits.Len(uint(r.passed+1)) - 1) }

// live notes that the session of a lease has proven its backend.
func (r *record) live(h *leased, now time.Duration) {
	r.living++
	r.lastLived = now
	if h.chosen {
		r.lived[r.lives%livedKept] = life{h.who.source, now - provenAfter}
		r.lives++
	}
	if !h.trial {
		return
	}
	h.trial = false
	r.pending--
	if r.returning {
		if r.passed++; r.passed == returnProofs {
			r.ejected, r.returning, r.acquitted, r.forgiven = false, false, now, now
		}
	}
}

// leave takes an ended session off. After a trial that failed the backend waits.
func (r *record) leave(h leased, now time.Duration, failed bool) {
	if h.lived {
		r.living--
		r.lastLived = now
	}
	if !h.trial {
		return
	}
	r.pending--
	if failed && r.returning {
		r.until, r.passed = max(r.until, now+returnPause), 0
	}
}

// alive counts the sessions that proved the backend and began from a time on,
// of one source no more than leastFailures.
func (r *record) alive(from time.Duration) (n int) {
	per := map[uint64]int{}
	for k := range min(r.lives, livedKept) {
		if l := r.lived[k]; l.begun >= from {
			if per[l.source]++; per[l.source] <= leastFailures {
				n++
			}
		}
	}
	return n
}

// charge is what speaks against one backend.
type charge struct {
	first  time.Duration // when its first failure was
	proven map[uint64]int
	likely map[likelihood]int
}

// likelihood is who failed where nothing else is known of the same request:
// quick says that a session that holds has outlasted it.
type likelihood struct {
	cohort
	quick bool
}

// charges gathers what failures say against each backend. A caller whose request
// lived elsewhere convicts where it failed. One that has failed at a single
// backend is likely to, as far as its source has living sessions elsewhere
// and nothing lives at that backend. One that failed everywhere convicts
// nobody.
func (m *Memory) charges() map[backend.ID]*charge {
	all := map[backend.ID]*charge{}
	against := func(f *failure) *charge {
		r := m.records[f.at]
		if !f.chosen || r != nil && r.acquitted > 0 && f.when <= r.acquitted {
			return nil
		}
		c := all[f.at]
		if c == nil {
			c = &charge{first: f.when, proven: map[uint64]int{}, likely: map[likelihood]int{}}
			all[f.at] = c
		}
		c.first = min(c.first, f.when)
		return c
	}
	for g, units := range m.evidence.callers {
		for id, u := range units {
			if g == 1 && m.evidence.callers[0][id] != nil {
				continue // it is the same
			}
			for k := range u.failed {
				if f := &u.failed[k]; m.evidence.decides(u.cohort, f) {
					if c := against(f); c != nil {
						c.proven[u.source]++
					}
				}
			}
			if f := m.evidence.alone(u); f != nil && outlasts*f.lasted <= provenAfter {
				if c := against(f); c != nil {
					c.likely[likelihood{u.cohort, outlasts*f.lasted <= holdsAfter}]++
				}
			}
		}
	}
	return all
}

// weigh returns how many failures of a charge count.
func (m *Memory) weigh(c *charge, r *record, now time.Duration) (n int) {
	per := maps.Clone(c.proven)
	if r.living == 0 && (r.lastLived == 0 || now-r.lastLived >= failureTTL) {
		for l, likely := range c.likely {
			per[l.source] += min(likely, m.evidence.living(l.cohort, l.quick))
		}
	}
	for _, of := range per {
		n += min(of, leastFailures)
	}
	return n
}

// share is how many new streams failed at a backend, and how many lived.
type share struct{ failed, lived int }

// muchWorse reports whether a share of failures is half, and several times
// another.
func (a share) muchWorse(b share) bool {
	return a.failed >= a.lived && a.failed*(b.failed+b.lived) >= timesOthers*b.failed*(a.failed+a.lived)
}

// judge ejects the backends that fail their callers as others do not, and takes
// back what nothing speaks for any more.
func (m *Memory) judge(snap *backend.Snapshot, now time.Duration) {
	all := m.charges()
	failed := map[backend.ID]int{}
	for id, c := range all {
		failed[id] = m.weigh(c, m.record(id), now)
	}
	for id, r := range m.records {
		if _, known := snap.Find(id); !known && r.living == 0 && r.pending == 0 {
			delete(m.records, id)
			continue
		}
		if r.ejected && !r.returning && now < r.since+firmAfter && failed[id] < r.need {
			r.ejected = false
			r.times--
		}
	}
	for i := range snap.Backends {
		id := snap.Backends[i].ID
		r := m.records[id]
		if r == nil || r.ejected && !r.returning {
			continue
		}
		need := leastFailures
		if r.returning {
			need = 1
		}
		if failed[id] < need || !r.returning && !m.mayEject(snap) {
			continue
		}
		own := share{failed[id], r.alive(all[id].first)}
		if better, worse := m.compare(id, own, failed, all[id].first); better >= worse && own.failed >= own.lived {
			r.eject(now, need, fmt.Sprintf("%d of %d new streams failed, those of %d other backends did not", own.failed, own.failed+own.lived, better))
		}
	}
}

// compare counts the other backends that do much better than one since a time,
// and those that do not, of those of which anything is known.
func (m *Memory) compare(id backend.ID, own share, failed map[backend.ID]int, from time.Duration) (better, worse int) {
	for other, r := range m.records {
		theirs := share{failed[other], r.alive(from)}
		switch {
		case other == id || theirs == share{}:
		case own.muchWorse(theirs):
			better++
		default:
			worse++
		}
	}
	return better, worse
}

// mayEject reports whether another backend may be ejected: never more than
// half of those that can take streams.
func (m *Memory) mayEject(snap *backend.Snapshot) bool {
	able, ejected, now := 0, 0, m.now()
	for i := range snap.Backends {
		b := &snap.Backends[i]
		if !b.Available(now) {
			continue
		}
		able++
		if r := m.records[b.ID]; r != nil && r.ejected {
			ejected++
		}
	}
	return 2*(ejected+1) <= able
}

// eject gives a backend no new streams for a while, longer each time.
func (r *record) eject(now time.Duration, need int, why string) {
	r.times = max(r.times-max(int((now-r.forgiven)/forgiveEvery), 0), 0) + 1
	r.ejected, r.returning, r.passed = true, false, 0
	r.since, r.need, r.why = now, need, why
	r.until = now + min(time.Duration(r.times)*ejectFor, ejectMost)
	r.forgiven = r.until
	r.total++
}

// startReturns lets the backends whose time is over be tried. What was before says
// nothing of them any more.
func (m *Memory) startReturns(now time.Duration) {
	for _, r := range m.records {
		if r.ejected && !r.returning && now >= r.until {
			r.returning, r.acquitted = true, now
		}
	}
}
