package relay

import (
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

func TestSpareMemoryIsGivenBackAfterABurst(t *testing.T) {
	const (
		burst = 16 << 20 // allocated in a second
		rest  = 64 << 10
		large = 1 << 30
	)
	type look struct {
		allocated, live, spare uint64
		idle                   bool
	}
	quiet := look{rest, 0, spareLeast, false}
	for name, looks := range map[string][]look{
		"a burst":           {{burst, 0, 2 * burst, false}, {rest, 0, 2 * burst, true}},
		"little is left":    {{burst, 0, spareLeast - 1, false}, {rest, 0, spareLeast - 1, false}},
		"little of much":    {{burst, large, large / 10, false}, {rest, large, large / 10, false}},
		"much of much":      {{burst, large, large / 7, false}, {rest, large, large / 7, true}},
		"soon wanted again": {{burst, 0, 2 * burst, false}, {burst / 4, 0, 2 * burst, false}},
		"not twice within ten seconds": {
			{rest, 0, spareLeast, true},
			quiet, quiet, quiet, quiet, quiet, quiet, quiet, quiet, quiet,
			{rest, 0, spareLeast, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s spare
			var allocated uint64
			now := time.Unix(1000, 0)
			for i, l := range looks {
				allocated += l.allocated
				if got := s.idle(now, heap{allocated: allocated, live: l.live, spare: l.spare}); got != l.idle {
					t.Errorf("look %d: %v", i, got)
				}
				now = now.Add(spareLook)
			}
		})
	}
}

// garbage is on the heap, for whoever sees the package may look at it.
var garbage []byte

func TestGiveBack(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nobody else collects
	synctest.Test(t, func(t *testing.T) {
		garbage = make([]byte, 4*spareLeast)
		garbage = nil
		if before := readHeap().spare; before < 4*spareLeast {
			t.Fatalf("%d bytes to spare", before)
		}
		go giveBack(t.Context())
		time.Sleep(3 * spareLook) // of the bubble; the first look has nothing to compare with
		synctest.Wait()
		if after := readHeap().spare; after >= spareLeast {
			t.Errorf("%d bytes are still there", after)
		}
	})
}
