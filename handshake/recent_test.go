package handshake

import (
	"testing"
	"time"
)

func TestRecent(t *testing.T) {
	r := new(Recent)
	const one, other = 42, 43
	start := time.Second
	for i, tt := range []struct {
		after time.Duration
		hash  uint64
		want  bool
	}{
		{0, 0, false}, // an empty slot is no request with hash 0
		{0, one, false},
		{0, one, true},
		{ms, other, false},
		{networkCopy - 1, one, true},
		{networkCopy, one, false}, // from the first on, not from its last copy
		{networkCopy + ms, one, true},
		{networkCopy + ms, one + recentSlots, false}, // pushes it out
		{networkCopy + ms, one + recentSlots, true},
		{networkCopy + ms, one, false},
	} {
		if got := r.Copy(start+tt.after, tt.hash); got != tt.want {
			t.Errorf("step %d, hash %d after %v: %v", i, tt.hash, tt.after, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { r.Copy(start, one) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
