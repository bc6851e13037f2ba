package relay

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	spareLook = time.Second
	// spareApart is from one time that memory is given back to the next, and
	// how long it must be likely to lie idle.
	spareApart = 10 * time.Second
	// spareLeast is what must be there to give. Of a large heap it is half of
	// what may gather between two collections of the runtime's own: to collect
	// costs as much as there is alive.
	spareLeast   = 8 << 20
	sparePercent = gcPercent / 2
)

// giveBack gives spare memory back to the kernel until ctx ends.
//
// A burst of callers leaves much behind: each handshake is kept for seconds,
// for its replays. The runtime collects when more is allocated. When no more
// callers come, what the last of them left would stay for the two minutes after
// which it collects anyway.
func giveBack(ctx context.Context) {
	look := time.NewTicker(spareLook)
	defer look.Stop()
	var s spare
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-look.C:
			if s.idle(now, readHeap()) {
				runtime.GC() // FreeOSMemory does it again: pools let go with the second one
				debug.FreeOSMemory()
			}
		}
	}
}

// spare finds memory that nobody will want soon.
type spare struct {
	allocated uint64    // at the last look
	given     time.Time // last time back to the kernel
}

// idle is asked once per spareLook whether there is spare memory, and whether
// so little is allocated that it would lie idle for spareApart.
func (s *spare) idle(now time.Time, h heap) bool {
	wanted := (h.allocated - s.allocated) * uint64(spareApart/spareLook)
	s.allocated = h.allocated
	worth := max(spareLeast, h.live/100*sparePercent)
	if h.spare < max(worth, wanted) || now.Sub(s.given) < spareApart {
		return false
	}
	s.given = now
	return true
}

// heap is what the runtime says of the heap, in bytes.
type heap struct {
	allocated uint64 // since the start, freed or not
	live      uint64 // at the last collection
	spare     uint64 // allocated since the last collection, or free and still the process's
}

func readHeap() heap {
	samples := [...]metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(samples[:])
	value := func(i int) uint64 { return samples[i].Value.Uint64() }
	all, live := value(1)+value(2), value(3)
	return heap{allocated: value(0), live: live, spare: all - min(live, all)}
}
