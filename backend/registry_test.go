package backend

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func numbered(id ID, port uint16) Backend {
	return Backend{ID: id, Source: SourceStatic, Addr: netip.AddrPortFrom(netip.IPv6Loopback(), port)}
}

func ids(s *Snapshot) (all []ID) {
	for _, b := range s.Backends {
		all = append(all, b.ID)
	}
	return all
}

func find(t *testing.T, r *Registry, id ID) Backend {
	t.Helper()
	b, ok := r.Snapshot().Find(id)
	if !ok || b.ID != id {
		t.Fatalf("no %s among %v", id, ids(r.Snapshot()))
	}
	return b
}

func TestPutAndRemove(t *testing.T) {
	r := NewRegistry()
	if s := r.Snapshot(); len(s.Backends) != 0 || s.KeyLen != 0 {
		t.Errorf("a new registry holds %+v", s)
	}
	for _, id := range []ID{"c", "a", "d", "b"} {
		r.Put(numbered(id, 1))
	}
	if got := ids(r.Snapshot()); !slices.Equal(got, []ID{"a", "b", "c", "d"}) {
		t.Errorf("order %v", got)
	}
	r.Put(numbered("b", 2))
	if got := find(t, r, "b"); got.Addr.Port() != 2 || len(r.Snapshot().Backends) != 4 {
		t.Errorf("replaced: %v of %d", got, len(r.Snapshot().Backends))
	}
	r.Remove("a")
	r.Remove("unknown")
	if got := ids(r.Snapshot()); !slices.Equal(got, []ID{"b", "c", "d"}) {
		t.Errorf("after Remove: %v", got)
	}
	for _, id := range []ID{"", "a", "bb", "z"} {
		if b, ok := r.Snapshot().Find(id); ok || b != (Backend{}) {
			t.Errorf("Find(%q) = %v", id, b)
		}
	}
}

func TestAliveAndDown(t *testing.T) {
	r := NewRegistry()
	r.Put(numbered("a", 1))
	if r.MarkAlive("a", 2, noon) {
		t.Error("returned without having been down")
	}
	if b := find(t, r, "a"); b.Down || b.KeyLen != 2 || b.Answered != noon {
		t.Errorf("%+v", b)
	}
	if !r.MarkDown("a") || r.MarkDown("a") {
		t.Error("Down reports anything but the one fall")
	}
	if b := find(t, r, "a"); !b.Down || b.KeyLen != 2 || b.Answered != noon {
		t.Errorf("down: %+v", b)
	}
	if !r.MarkAlive("a", 4, noon.Add(time.Second)) || r.MarkAlive("a", 4, noon.Add(2*time.Second)) {
		t.Error("Alive reports anything but the one return")
	}
	if b := find(t, r, "a"); b.Down || b.KeyLen != 4 || b.Answered != noon.Add(time.Second) {
		t.Errorf("back: %+v", b)
	}
	if r.MarkAlive("unknown", 4, noon) || r.MarkDown("unknown") || len(r.Snapshot().Backends) != 1 {
		t.Error("an answer made a backend")
	}
}

// A probe each second must not make a snapshot each second.
func TestSnapshotsAreNotMadeForNothing(t *testing.T) {
	r := NewRegistry()
	r.Put(numbered("a", 1))
	r.MarkAlive("a", 3, noon)
	before := r.Snapshot()
	r.MarkAlive("a", 3, noon.Add(time.Second))
	r.MarkAlive("unknown", 3, noon)
	r.MarkDown("unknown")
	if r.Snapshot() != before {
		t.Error("nothing changed, yet there is a new snapshot")
	}
	r.MarkAlive("a", 3, noon.Add(answeredStep))
	if r.Snapshot() == before || find(t, r, "a").Answered != noon.Add(answeredStep) {
		t.Error("the time of the last answer is not kept up")
	}
	r.MarkDown("a")
	before = r.Snapshot()
	r.MarkDown("a")
	if r.Snapshot() != before {
		t.Error("a second Down made a snapshot")
	}
}

func TestSnapshotIsImmutable(t *testing.T) {
	r := NewRegistry()
	for _, id := range []ID{"b", "c", "d"} {
		r.Put(numbered(id, 1))
	}
	s := r.Snapshot()
	want := slices.Clone(s.Backends)
	for name, change := range map[string]func(){
		"Put first":   func() { r.Put(numbered("a", 1)) },
		"Put again":   func() { r.Put(numbered("c", 9)) },
		"Remove":      func() { r.Remove("b") },
		"Down":        func() { r.MarkDown("c") },
		"Alive":       func() { r.MarkAlive("d", 4, noon) },
		"Remove last": func() { r.Remove("d") },
	} {
		change()
		if !slices.Equal(s.Backends, want) || s.KeyLen != 0 {
			t.Fatalf("%s changed an old snapshot: %v", name, s.Backends)
		}
	}
}

func TestKeyLenIsTheLongest(t *testing.T) {
	r := NewRegistry()
	expect := func(want uint16) {
		t.Helper()
		if got := r.Snapshot().KeyLen; got != want {
			t.Errorf("key length %d, want %d", got, want)
		}
	}
	r.Put(numbered("a", 1))
	r.Put(numbered("b", 1))
	expect(0)
	r.MarkAlive("a", 2, noon)
	expect(2)
	r.MarkAlive("b", 4, noon)
	expect(4)
	r.MarkDown("b") // it will be back, and its callers must not be downgraded
	expect(4)
	r.Remove("b")
	expect(2)
	r.MarkAlive("a", 0, noon)
	expect(0)
}

// For the race detector: readers walk snapshots while writers change the set.
func TestRegistryFromManyGoroutines(t *testing.T) {
	r := NewRegistry()
	const writers, rounds = 4, 200
	stop := make(chan struct{})
	var readers, all sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := r.Snapshot()
				longest := uint16(0)
				for _, b := range s.Backends {
					longest = max(longest, b.KeyLen)
					if got, ok := s.Find(b.ID); !ok || got != b {
						t.Errorf("%s is not found in its own snapshot", b.ID)
						return
					}
				}
				if longest != s.KeyLen {
					t.Errorf("key length %d, want %d", s.KeyLen, longest)
					return
				}
			}
		})
	}
	for w := range writers {
		all.Go(func() {
			keep, pass := ID(fmt.Sprintf("keep-%d", w)), ID(fmt.Sprintf("pass-%d", w))
			r.Put(numbered(keep, 1))
			for i := range rounds {
				r.Put(numbered(pass, 1))
				r.MarkAlive(keep, uint16(2+i%3), noon.Add(time.Duration(i)*time.Minute))
				r.MarkDown(pass)
				r.Remove(pass)
			}
		})
	}
	all.Wait()
	close(stop)
	readers.Wait()
	if got := ids(r.Snapshot()); !slices.Equal(got, []ID{"keep-0", "keep-1", "keep-2", "keep-3"}) {
		t.Errorf("left: %v", got)
	}
}

// An ordered weight comes before the configured one, whatever becomes of that, and outlives
// a take-over.
func TestOrderedWeight(t *testing.T) {
	r := configured(t, "10.0.0.1:10080", "10.0.0.2:10080")
	share := func(r *Registry) int {
		b, _ := r.Snapshot().Find("10.0.0.1:10080")
		return b.Share()
	}
	if !r.OrderWeight("10.0.0.1:10080", 5) || share(r) != 5 {
		t.Errorf("the share is %d", share(r))
	}
	if r.OrderWeight("10.0.0.9:10080", 5) {
		t.Error("an unknown backend has a weight")
	}
	if err := r.SetStatic([]string{"10.0.0.1:10080"}, map[string]int{"10.0.0.1:10080": 3}, noon); err != nil || share(r) != 5 {
		t.Errorf("after a reload the share is %d, %v", share(r), err)
	}
	r.Adjust(func(b *Backend) { b.OrderedBy = "edge-2" })
	next := configured(t, "10.0.0.1:10080")
	if _, err := next.Restore(r.AppendSnapshot(nil, boot), boot, noon); err != nil || share(next) != 5 {
		t.Errorf("after a take-over the share is %d, %v", share(next), err)
	}
	if b, _ := next.Snapshot().Find("10.0.0.1:10080"); b.OrderedBy != "edge-2" {
		t.Errorf("ordered by %q", b.OrderedBy)
	}
	r.OrderWeight("10.0.0.1:10080", 0)
	if share(r) != 3 {
		t.Errorf("the configured share is %d", share(r))
	}
}

// Adjust publishes nothing if nothing changes.
func TestAdjust(t *testing.T) {
	r := configured(t, "10.0.0.1:10080", "10.0.0.2:10080")
	before := r.Snapshot()
	r.Adjust(func(*Backend) {})
	if r.Snapshot() != before {
		t.Error("a snapshot without a change")
	}
	r.Adjust(func(b *Backend) { b.Draining = b.ID == "10.0.0.2:10080" })
	if b, _ := r.Snapshot().Find("10.0.0.2:10080"); !b.Draining {
		t.Error("nothing has changed")
	}
}
