package balancer

import (
	"fmt"
	"time"

	"srtrelay/backend"
)

// standing orders the backends that may be given a new stream: the lowest that
// there are get it.
type standing uint8

const (
	sound   standing = iota
	suspect          // somebody found it silent
	ejected          // it fails its callers as others do not
	failed           // this caller has just failed there
	unable           // it takes no streams
)

func (s standing) why() string {
	switch s {
	case suspect:
		return ", among backends in doubt, for there are no others"
	case ejected:
		return ", among ejected backends, for there are no others"
	case failed:
		return ", though the caller has just failed there, for there are no others"
	}
	return ""
}

func (m *Memory) standing(b *backend.Backend, q backend.Query, u *unit, now time.Time) standing {
	switch {
	case !b.Available(now) || tried(q, b.ID):
		return unable
	case u.at(b.ID) != nil:
		return failed
	case m.barred(b.ID, now.Sub(m.origin)):
		return ejected
	case b.Suspect:
		return suspect
	}
	return sound
}

// gather fills takers with those of the best standing, and says which that is
// and who was passed over as ejected.
func (m *Memory) gather(snap *backend.Snapshot, q backend.Query, who identity) (best standing, passed string) {
	now, u := m.now(), m.evidence.unit(who)
	best = unable
	m.takers = m.takers[:0]
	for i := range snap.Backends {
		b := &snap.Backends[i]
		s := m.standing(b, q, u, now)
		if s == ejected {
			passed = fmt.Sprintf("; %s is ejected", b.ID)
		}
		if s < best {
			best, m.takers = s, m.takers[:0]
		}
		if s == best && s != unable {
			m.takers = append(m.takers, b)
		}
	}
	if best == ejected {
		passed = ""
	}
	return best, passed
}
