package balancer

import (
	"fmt"
	"math"
	"time"

	"srtrelay/backend"
)

// standing ranks the backends for a new stream, which goes to one of those with the
// lowest standing.
type standing uint8

const (
	standingSound       standing = iota
	standingSuspect              // it did not answer somebody
	standingLeft                 // its name ceased to have its address
	standingEjected              // it fails its callers as others do not
	standingFailed               // this caller has just failed there
	standingUnavailable          // it takes no streams
)

func (s standing) why() string {
	switch s {
	case standingSuspect:
		return ", among backends in doubt, for there are no others"
	case standingLeft:
		return ", among backends whose name has other addresses now, for none of these takes it"
	case standingEjected:
		return ", among ejected backends, for there are no others"
	case standingFailed:
		return ", though the caller has just failed there, for there are no others"
	}
	return ""
}

func (m *Memory) standing(b *backend.Backend, q backend.Query, failures *callerFailures, now time.Time) standing {
	switch {
	case !b.Available(now) || tried(q, b.ID):
		return standingUnavailable
	case failures.at(b.ID) != nil:
		return standingFailed
	case m.isBarred(b.ID, now.Sub(m.origin)):
		return standingEjected
	case !b.LeftAt.IsZero():
		return standingLeft
	case b.Suspect:
		return standingSuspect
	}
	return standingSound
}

// gatherCandidates sets candidates to the backends of the best standing, and of these to
// the ones that are no backups, if there are any. It returns that standing, and a text
// about a backend that was skipped because it is ejected.
func (m *Memory) gatherCandidates(snap *backend.Snapshot, q backend.Query, who identity) (best standing, skipped string) {
	now, failures := m.now(), m.evidence.failuresOf(who)
	best, backup := standingUnavailable, uint8(math.MaxUint8)
	m.candidates = m.candidates[:0]
	for i := range snap.Backends {
		b := &snap.Backends[i]
		s := m.standing(b, q, failures, now)
		if s == standingEjected {
			skipped = fmt.Sprintf("; %s is ejected", b.ID)
		}
		if s < best || s == best && b.Backup < backup {
			best, backup, m.candidates = s, b.Backup, m.candidates[:0]
		}
		if s == best && b.Backup == backup && s != standingUnavailable {
			m.candidates = append(m.candidates, b)
		}
	}
	if best == standingEjected {
		skipped = ""
	}
	if backup > 0 && len(m.candidates) > 0 {
		skipped = ", a backup by its SRV record, for no other takes it" + skipped
	}
	return best, skipped
}
