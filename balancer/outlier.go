package balancer

import (
	"fmt"
	"maps"
	"time"

	"srtrelay/backend"
)

// Outlier detection compares the failures that callers meet at one backend with those
// at the others. docs/adr/0018-outliers.md has the reasons.
const (
	// minFailures is how many callers must have failed at a backend before it is
	// ejected. No more than as many of one source count.
	minFailures = 3
	// failureFactor is how many times the share of failures at most other backends
	// a backend's own share must be. It must also be at least half of its callers.
	failureFactor = 3
	// revocableFor is how long after an ejection it is revoked when the evidence
	// for it is gone.
	revocableFor = 3 * time.Second
	// judgeInterval is the least time between two judgements.
	judgeInterval = 50 * time.Millisecond
)

// blame is the failures that are held against one backend.
type blame struct {
	first   time.Duration  // when the first of them was
	certain map[uint64]int // by source
	likely  map[likelihood]int
}

// likelihood groups failures of callers that have not been seen elsewhere.
type likelihood struct {
	cohort
	quick bool // so soon that survivedAfter compares with it
}

// blames gathers the failures that are held against each backend. A failure is
// certainly the backend's if the same request survived elsewhere. It is likely the
// backend's if the caller has failed nowhere else. A caller that failed at several
// backends and survived at none blames nobody.
func (m *Memory) blames() map[backend.ID]*blame {
	all := map[backend.ID]*blame{}
	on := func(f *failure) *blame {
		r := m.records[f.at]
		if !f.chosen || r != nil && r.cleared > 0 && f.when <= r.cleared {
			return nil
		}
		b := all[f.at]
		if b == nil {
			b = &blame{first: f.when, certain: map[uint64]int{}, likely: map[likelihood]int{}}
			all[f.at] = b
		}
		b.first = min(b.first, f.when)
		return b
	}
	for g, callers := range m.evidence.callers {
		for id, c := range callers {
			if g == 1 && m.evidence.callers[0][id] != nil {
				continue // the same one
			}
			for k := range c.failures {
				if f := &c.failures[k]; m.evidence.blamesBackend(c.cohort, f) {
					if b := on(f); b != nil {
						b.certain[c.source]++
					}
				}
			}
			if f := m.evidence.onlyUnexplained(c); f != nil && survivalFactor*f.lasted <= provenAfter {
				if b := on(f); b != nil {
					b.likely[likelihood{c.cohort, survivalFactor*f.lasted <= survivedAfter}]++
				}
			}
		}
	}
	return all
}

// count returns how many failures of a blame count. Likely ones count if no session
// lives at the backend or has lived there for failureTTL, and no more of them than
// sessions of their cohort survive.
func (m *Memory) count(b *blame, r *record, now time.Duration) (n int) {
	perSource := maps.Clone(b.certain)
	if r.living == 0 && (r.lastLiving == 0 || now-r.lastLiving >= failureTTL) {
		for l, failures := range b.likely {
			perSource[l.source] += min(failures, m.evidence.countSurvivors(l.cohort, l.quick))
		}
	}
	for _, failures := range perSource {
		n += min(failures, minFailures)
	}
	return n
}

// result is how many new streams have failed at a backend, and how many have lived.
type result struct{ failed, lived int }

// muchWorseThan reports whether the share of failures is at least half, and
// failureFactor times the other one's.
func (a result) muchWorseThan(b result) bool {
	return a.failed >= a.lived && a.failed*(b.failed+b.lived) >= failureFactor*b.failed*(a.failed+a.lived)
}

// judge ejects the outliers, and revokes young ejections whose evidence is gone.
func (m *Memory) judge(snap *backend.Snapshot, now time.Duration) {
	blames := m.blames()
	failed := map[backend.ID]int{}
	for id, b := range blames {
		failed[id] = m.count(b, m.record(id), now)
	}
	for id, r := range m.records {
		if _, known := snap.Find(id); !known && r.living == 0 && r.trials == 0 {
			delete(m.records, id)
			continue
		}
		if r.ejected && !r.returning && now < r.since+revocableFor && failed[id] < r.need {
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
		need := minFailures
		if r.returning {
			need = 1
		}
		if failed[id] < need || !r.returning && !m.mayEject(snap) {
			continue
		}
		own := result{failed[id], r.livedSince(blames[id].first)}
		if better, others := m.compare(id, own, failed, blames[id].first); better >= others && own.failed >= own.lived {
			r.eject(now, need, fmt.Sprintf("%d of %d new streams failed, those of %d other backends did not", own.failed, own.failed+own.lived, better))
		}
	}
}

// compare counts the other backends whose result since a time is much better, and
// those whose result is not.
func (m *Memory) compare(id backend.ID, own result, failed map[backend.ID]int, from time.Duration) (better, others int) {
	for other, r := range m.records {
		theirs := result{failed[other], r.livedSince(from)}
		switch {
		case other == id || theirs == result{}:
		case own.muchWorseThan(theirs):
			better++
		default:
			others++
		}
	}
	return better, others
}

// mayEject reports whether another backend may be ejected: at most half of those that
// can take streams are.
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
