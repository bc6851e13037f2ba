package balancer

import (
	"fmt"
	"time"

	"srtrelay/backend"
)

// standing ranks the backends for a new stream, which goes to one of the lowest
// standing there is.
type standing uint8

const (
	standingSound       standing = iota
	standingSuspect              // somebody found it silent
	standingEjected              // it fails its callers as others do not
	standingFailed               // this caller has just failed there
	standingUnavailable          // it takes no streams
)

func (s standing) why() string {
	switch s {
	case standingSuspect:
		return ", among backends in doubt, for there are no others"
	case standingEjected:
		return ", among ejected backends, for there are no others"
	case standingFailed:
		return ", though the caller has just failed there, for there are no others"
	}
	return ""
}

func (m *Memory) standing(b *backend.Backend, q backend.Query, u *callerFailures, now time.Time) standing {
	switch {
	case !b.Available(now) || tried(q, b.ID):
		return standingUnavailable
	case u.at(b.ID) != nil:
		return standingFailed
	case m.isBarred(b.ID, now.Sub(m.origin)):
		return standingEjected
	case b.Suspect:
		return standingSuspect
	}
	return standingSound
}

// gatherCandidates sets candidates to the backends of the best standing. It returns
// that standing, and a text about a backend that was skipped as ejected.
func (m *Memory) gatherCandidates(snap *backend.Snapshot, q backend.Query, who identity) (best standing, passed string) {
	now, u := m.now(), m.evidence.callerOf(who)
	best = standingUnavailable
	m.candidates = m.candidates[:0]
	for i := range snap.Backends {
		b := &snap.Backends[i]
		s := m.standing(b, q, u, now)
		if s == standingEjected {
			passed = fmt.Sprintf("; %s is ejected", b.ID)
		}
		if s < best {
			best, m.candidates = s, m.candidates[:0]
		}
		if s == best && s != standingUnavailable {
			m.candidates = append(m.candidates, b)
		}
	}
	if best == standingEjected {
		passed = ""
	}
	return best, passed
}
