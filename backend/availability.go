package backend

import (
	"fmt"
	"strings"
	"time"
)

// Availability returns how many backends may get a new stream. If none may, why says
// for what reason, in one line for operators.
func (s *Snapshot) Availability(now time.Time) (available int, why string) {
	var down, late, draining int
	for i := range s.Backends {
		switch b := &s.Backends[i]; {
		case b.Available(now):
			available++
		case b.Down:
			down++
		case b.Late(now):
			late++
		default:
			draining++
		}
	}
	switch {
	case available > 0:
		return available, ""
	case len(s.Backends) == 0:
		return 0, "no backend is known"
	}
	var parts []string
	for _, part := range []struct {
		n    int
		text string
	}{{down, "down"}, {late, "without heartbeat"}, {draining, "draining"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.text))
		}
	}
	return 0, "no backend can take a stream: " + strings.Join(parts, ", ")
}
