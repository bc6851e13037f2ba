package backend

import (
	"testing"
	"time"
)

func TestAvailability(t *testing.T) {
	sound, down, draining, late := Backend{}, Backend{Down: true}, Backend{Draining: true}, Backend{Expires: noon.Add(-time.Second)}
	for _, c := range []struct {
		backends []Backend
		want     int
		why      string
	}{
		{nil, 0, "no backend is known"},
		{[]Backend{sound}, 1, ""},
		{[]Backend{down, sound, {Suspect: true}, draining}, 2, ""},
		{[]Backend{down}, 0, "no backend can take a stream: 1 down"},
		{[]Backend{down, {Down: true, Draining: true}, draining, late}, 0, "no backend can take a stream: 2 down, 1 without heartbeat, 1 draining"},
	} {
		n, why := (&Snapshot{Backends: c.backends}).Availability(noon)
		if n != c.want || why != c.why {
			t.Errorf("%+v: %d %q, want %d %q", c.backends, n, why, c.want, c.why)
		}
	}
}
