package balancer

import (
	"testing"
	"unsafe"

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
// There are as many of them as streams and sessions: what most of them do not have belongs
// behind a pointer. Allocations of a binding have 80 bytes, else 96.
func TestBindingsAndLeasesAreSmall(t *testing.T) {
	if b, l := unsafe.Sizeof(binding{}), unsafe.Sizeof(leased{}); b > 80 || l > 72 {
		t.Errorf("a binding has %d bytes, a lease %d", b, l)
	}
}

func (l *leases) len() int { return l.slots.Len() - len(l.free) }
