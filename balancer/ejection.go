package balancer

import (
	"math/bits"
	"time"

	"srtrelay/backend"
)

const (
	// ejectFor times the number of ejections is how long a backend is ejected, at
	// most maxEjection. One ejection is forgotten for each forgetEvery without one.
	ejectFor, maxEjection = 30 * time.Second, 5 * time.Minute
	forgetEvery           = time.Minute
	// A backend that returns gets one stream at a time until one has proven it, two
	// until three have, then four. After returnProofs it is one of the others again.
	// After a stream that failed it waits for returnPause and begins with one.
	returnSteps  = 3
	returnProofs = 1<<returnSteps - 1
	returnPause  = 5 * time.Second
	// keptProofs is how many of the last sessions that proved a backend are kept.
	keptProofs = 32
)

// record is what the balancer knows of one backend beyond its load.
type record struct {
	proofs     [keptProofs]proof // a ring
	proofCount int               // ever
	living     int               // sessions that have lived for provenAfter and have not ended
	lastLiving time.Duration     // when there was last known to be one

	ejected   bool
	returning bool          // the ejection is over, and a few streams try the backend
	since     time.Duration // of the ejection
	until     time.Duration // when the backend may be tried
	why       string
	need      int           // failures that the ejection needs
	times     int           // ejections that are not forgotten
	total     uint64        // ejections ever
	cleared   time.Duration // failures up to then do not count
	forgetAt  time.Duration // from when on times is forgotten
	trials    int           // sessions that try the returning backend
	passed    int           // trials that proved the backend
}

// proof is a session that proved a backend.
type proof struct {
	source uint64
	begun  time.Duration
}

// Ejection is what an operator sees of a backend that was ejected.
type Ejection struct {
	// Ejected means that the backend is ejected now, Returning that a few streams
	// try it already. Until and Why are of this ejection.
	Ejected, Returning bool
	Until              time.Time
	Why                string
	// Times counts all ejections of the backend.
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

// record returns the record of a backend. There are no more records than backends.
func (m *Memory) record(id backend.ID) *record {
	r := m.records[id]
	if r == nil {
		r = new(record)
		m.records[id] = r
	}
	return r
}

// isBarred reports whether a backend gets no new streams while others can take them:
// it is ejected, or it returns and has as many trials as it may have.
func (m *Memory) isBarred(id backend.ID, now time.Duration) bool {
	r := m.records[id]
	return r != nil && r.ejected && (now < r.until || r.trials >= r.maxTrials())
}

// maxTrials returns how many sessions may try a returning backend at the same time.
func (r *record) maxTrials() int { return 1 << (bits.Len(uint(r.passed+1)) - 1) }

// eject gives a backend no new streams for a while, longer each time.
func (r *record) eject(now time.Duration, need int, why string) {
	r.times = max(r.times-max(int((now-r.forgetAt)/forgetEvery), 0), 0) + 1
	r.ejected, r.returning, r.passed = true, false, 0
	r.since, r.need, r.why = now, need, why
	r.until = now + min(time.Duration(r.times)*ejectFor, maxEjection)
	r.forgetAt = r.until
	r.total++
}

// startReturns lets the backends be tried whose ejection is over. What happened before
// no longer counts against them.
func (m *Memory) startReturns(now time.Duration) {
	for _, r := range m.records {
		if r.ejected && !r.returning && now >= r.until {
			r.returning, r.cleared = true, now
		}
	}
}

// prove notes that the session of a lease has proven the backend.
func (r *record) prove(l *leased, now time.Duration) {
	r.living++
	r.lastLiving = now
	if l.chosen {
		r.proofs[r.proofCount%keptProofs] = proof{l.who.source, now - provenAfter}
		r.proofCount++
	}
	if !l.trial {
		return
	}
	l.trial = false
	r.trials--
	if r.returning {
		if r.passed++; r.passed == returnProofs {
			r.ejected, r.returning, r.cleared, r.forgetAt = false, false, now, now
		}
	}
}

// removeSession removes an ended session. After a failed trial the backend waits.
func (r *record) removeSession(l leased, now time.Duration, failed bool) {
	if l.proven {
		r.living--
		r.lastLiving = now
	}
	if !l.trial {
		return
	}
	r.trials--
	if failed && r.returning {
		r.until, r.passed = max(r.until, now+returnPause), 0
	}
}

// livedSince counts the sessions that began at or after a time and proved the backend,
// at most minFailures of one source.
func (r *record) livedSince(from time.Duration) (n int) {
	perSource := map[uint64]int{}
	for k := range min(r.proofCount, keptProofs) {
		if p := r.proofs[k]; p.begun >= from {
			if perSource[p.source]++; perSource[p.source] <= minFailures {
				n++
			}
		}
	}
	return n
}
