package balancer

import (
	"testing"

	"srtrelay/backend"
)

func TestReturnedLeaseIsNotTakenForItsSuccessor(t *testing.T) {
	var l leases
	first := l.issue(leased{at: "a"})
	if h, ok := l.release(first); !ok || h.at != "a" {
		t.Fatalf("took %+v, %v", h, ok)
	}
	second := l.issue(leased{at: "b"})
	for _, stale := range []struct {
		what  string
		lease uint64
	}{
		{"the lease before it", uint64(first)},
		{"no lease", 0},
		{"a place that never was", 77<<32 | 9},
	} {
		if h, ok := l.release(backend.Lease(stale.lease)); ok {
			t.Errorf("%s took %+v", stale.what, h)
		}
	}
	if l.len() != 1 {
		t.Errorf("%d leases, not 1", l.len())
	}
	if h, ok := l.release(second); !ok || h.at != "b" || l.len() != 0 {
		t.Errorf("took %+v, %v; %d left", h, ok, l.len())
	}
}

// len is the number of leases issued and not released.
func (l *leases) len() int { return len(l.slots) - len(l.free) }
