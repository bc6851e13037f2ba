package backend

import (
	"maps"
	"slices"
	"testing"
)

func TestWatch(t *testing.T) {
	r := NewRegistry()
	r.Put(numbered("before", 1))
	w := r.Watch()
	told := func(what string, want ...ID) {
		t.Helper()
		select {
		case <-w.Wake():
			if want == nil {
				t.Errorf("%s: woken for nothing", what)
			}
		default:
			if want != nil {
				t.Errorf("%s: not woken", what)
			}
		}
		if got := slices.Sorted(maps.Keys(w.Collect())); !slices.Equal(got, want) {
			t.Errorf("%s: told of %v, want %v", what, got, want)
		}
	}
	told("nothing yet")
	r.Put(numbered("a", 1))
	r.Put(numbered("b", 2))
	told("two came", "a", "b")
	r.Put(numbered("a", 1))
	r.MarkAlive("a", 2, noon)
	r.SetDraining("a", true)
	r.MarkDownQuiet("a")
	told("nobody came, went or moved")
	r.Put(numbered("a", 3))
	told("moved", "a")
	r.MarkDown("b")
	r.MarkDown("b")
	told("found dead", "b")
	r.MarkDown("b")
	told("known to be dead")
	r.Remove("a")
	r.Remove("a")
	told("went", "a")
	old := heard(t, r, server("s", "1"), "10.0.0.1:1", noon).Backend.ID
	told("registered", old)
	heard(t, r, server("s", "1"), "10.0.0.1:1", noon)
	told("heartbeat while down", old)
	r.MarkAlive(old, 0, noon)
	heard(t, r, server("s", "1"), "10.0.0.1:1", noon)
	told("heartbeat while alive")
	again := heard(t, r, server("s", "2"), "10.0.0.1:1", noon).Backend.ID
	told("restarted", old, again)
	w.Close()
	r.Remove("b")
	told("closed")
}
