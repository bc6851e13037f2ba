package relay

import (
	"context"
	"io/fs"
	"log/slog"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"srtrelay/handshake"
	"srtrelay/internal/supervise"
	"srtrelay/relay/overload"
	"srtrelay/shard"
)

// processMemory is what the process needs beside its batches and the kernel's buffers,
// with some thousand sessions.
const processMemory = 96 << 20

// warnMemory logs a warning if the cgroup's limit is below what the relay may need: the
// kernel would kill the process, and with it all streams.
func warnMemory(root fs.FS, group *shard.Group, log *slog.Logger) {
	limit := overload.MemoryLimit(root)
	batches, buffers := group.MemoryMost()
	if needed := processMemory + batches + buffers; limit < int64(needed) {
		log.Warn("the cgroup's memory may not suffice when all shards are busy", "limit_bytes", limit, "needed_bytes", needed,
			"batches_bytes", batches, "receive_buffers_bytes", buffers,
			"advice", "raise the limit, or lower --shards, --batch or --rcvbuf")
	}
}

const (
	trimInterval = time.Second
	// trimGap is the least time between two trims, and for how long the memory must
	// be likely to stay unused.
	trimGap = 10 * time.Second
	// minTrim is the least memory worth a trim, of a large heap trimPercent of it:
	// half of what may gather between two of the runtime's own collections. The cost
	// of a collection grows with the live heap.
	minTrim     = 8 << 20
	trimPercent = gcPercent / 2
	// trimSettled is how long after a burst the heap is trimmed whatever seems reclaimable:
	// the runtime does not know that the answers to its callers are forgotten until it
	// collects again.
	trimSettled = handshake.ResponseTTL + 2*time.Second
)

// trimHeap returns unused memory to the kernel until ctx ends.
//
// A burst of callers leaves garbage behind, because each handshake is kept for
// seconds, for its replays. The runtime collects when more is allocated; without
// further callers that would be after its forced collection interval of two minutes.
func trimHeap(ctx context.Context) {
	var t heapTrimmer
	supervise.Every(ctx, trimInterval, func(now time.Time) {
		if t.due(now, readHeap()) {
			runtime.GC() // FreeOSMemory collects again: sync.Pool frees its items in the second collection
			debug.FreeOSMemory()
		}
	})
}

// heapTrimmer decides when to trim the heap.
type heapTrimmer struct {
	allocated uint64    // at the last call of due
	trimmed   time.Time // the last time
	burst     time.Time // when there was last a burst; zero if the heap was trimmed after it
}

// due is called once per trimInterval. It reports whether there is enough memory to
// reclaim and, at the present rate of allocation, none of it is needed for trimGap, or if
// what a burst has left behind is garbage by now.
func (t *heapTrimmer) due(now time.Time, h heap) bool {
	wanted := (h.allocated - t.allocated) * uint64(trimGap/trimInterval)
	t.allocated = h.allocated
	worth := max(minTrim, h.live/100*trimPercent)
	if wanted > worth {
		t.burst = now
	}
	settled := !t.burst.IsZero() && now.Sub(t.burst) >= trimSettled
	if h.reclaimable < max(worth, wanted) && !settled || now.Sub(t.trimmed) < trimGap {
		return false
	}
	t.trimmed = now
	if settled {
		t.burst = time.Time{}
	}
	return true
}

// heap is the state of the heap, in bytes.
type heap struct {
	allocated   uint64 // since the start, freed or not
	live        uint64 // after the last collection
	reclaimable uint64 // allocated since the last collection, or free and still the process's
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
	return heap{allocated: value(0), live: live, reclaimable: all - min(live, all)}
}
