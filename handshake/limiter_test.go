package handshake

import (
	"testing"
	"time"
)

func TestDedup(t *testing.T) {
	r := new(Dedup)
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
		{duplicateWindow - 1, one, true},
		{duplicateWindow, one, false}, // from the first on, not from its last copy
		{duplicateWindow + ms, one, true},
		{duplicateWindow + ms, one + recentSlots, false}, // pushes it out
		{duplicateWindow + ms, one + recentSlots, true},
		{duplicateWindow + ms, one, false},
	} {
		if got := r.Seen(start+tt.after, tt.hash); got != tt.want {
			t.Errorf("step %d, hash %d after %v: %v", i, tt.hash, tt.after, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { r.Seen(start, one) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
