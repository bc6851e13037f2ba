package relay

import (
	"runtime/debug"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestHeapIsTrimmedAfterABurst(t *testing.T) {
	const (
		burst = 16 << 20 // allocated in a second
		rest  = 64 << 10
		large = 1 << 30
	)
	type look struct {
		allocated, live, reclaimable uint64
		due                          bool
	}
	quiet := look{rest, 0, minTrim, false}
	for name, looks := range map[string][]look{
		"a burst":           {{burst, 0, 2 * burst, false}, {rest, 0, 2 * burst, true}},
		"little is left":    {{burst, 0, minTrim - 1, false}, {rest, 0, minTrim - 1, false}},
		"little of much":    {{burst, large, large / 10, false}, {rest, large, large / 10, false}},
		"much of much":      {{burst, large, large / 7, false}, {rest, large, large / 7, true}},
		"soon wanted again": {{burst, 0, 2 * burst, false}, {burst / 4, 0, 2 * burst, false}},
		"not twice within ten seconds": {
			{rest, 0, minTrim, true},
			quiet, quiet, quiet, quiet, quiet, quiet, quiet, quiet, quiet,
			{rest, 0, minTrim, true},
		},
		// Half of a burst's memory was in use when it was last trimmed, or collected.
		"answers to a burst of callers": slices.Concat(
			[]look{{burst, 0, 2 * burst, false}, {rest, 0, 2 * burst, true}},
			slices.Repeat([]look{{rest, 0, 0, false}}, 10),
			[]look{{rest, 0, 0, true}},
			slices.Repeat([]look{{rest, 0, 0, false}}, 30),
		),
	} {
		t.Run(name, func(t *testing.T) {
			var trimmer heapTrimmer
			var allocated uint64
			now := time.Unix(1000, 0)
			for i, l := range looks {
				allocated += l.allocated
				if got := trimmer.due(now, heap{allocated: allocated, live: l.live, reclaimable: l.reclaimable}); got != l.due {
					t.Errorf("look %d: %v", i, got)
				}
				now = now.Add(trimInterval)
			}
		})
	}
}

// garbage is on the heap, because it is a variable of the package.
var garbage []byte

func TestTrimHeap(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nobody else collects
	synctest.Test(t, func(t *testing.T) {
		garbage = make([]byte, 4*minTrim)
		garbage = nil
		if before := readHeap().reclaimable; before < 4*minTrim {
			t.Fatalf("%d bytes to reclaim", before)
		}
		go trimHeap(t.Context())
		time.Sleep(3 * trimInterval) // of the bubble; the first look has nothing to compare with
		synctest.Wait()
		if after := readHeap().reclaimable; after >= minTrim {
			t.Errorf("%d bytes are still there", after)
		}
	})
}
