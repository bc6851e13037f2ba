package api

import (
	"net/http"

	"srtrelay/api/answer"
	"srtrelay/shard"
)

func (h *handler) shards(w http.ResponseWriter, _ *http.Request) {
	stats := h.deps.Shards.Stats()
	list := answer.ShardList{Shards: make([]answer.Shard, 0, len(stats)), TakenAt: h.clock.now()}
	var sum shard.Stats
	for _, s := range stats {
		list.Shards = append(list.Shards, answer.Shard{Shard: s.Shard, Numbers: count(s)})
		for i, v := range s.Values {
			sum.Values[i] += v
		}
	}
	list.Total = count(sum)
	list.KernelPath = h.deps.Kernel.KernelPath()
	list.Overload = h.deps.Overload.Overload()
	list.KernelPath.Sessions = sum.Values[shard.CountKernelSessions]
	writeReply(w, http.StatusOK, reply{Data: list})
}

// established returns the sessions that are neither half-open nor ended. The counters
// are not read at one instant.
func established(v *[shard.NumCounters]uint64) uint64 {
	others := v[shard.CountHalfOpen] + v[shard.CountTombstones]
	return v[shard.CountSessions] - min(others, v[shard.CountSessions])
}

// count puts a shard's counters into the answer. Counters without a field of their own
// go into one of the maps, by kind.
func count(s shard.Stats) answer.Numbers {
	v := &s.Values
	n := answer.Numbers{
		Sessions:    established(v),
		HalfOpen:    v[shard.CountHalfOpen],
		Packets:     v[shard.CountReceivedFront] + v[shard.CountReceivedBack],
		Bytes:       v[shard.CountReceivedFrontBytes] + v[shard.CountReceivedBackBytes],
		KernelDrops: v[shard.CountKernelDrops],
		Drops:       map[string]uint64{},
		SendDrops:   map[string]uint64{},
		Counters:    map[string]uint64{},
	}
	if calls := v[shard.CountReceiveCalls]; calls > 0 {
		itself := n.Packets - v[shard.CountKernelToBackend] - v[shard.CountKernelToCaller]
		n.BatchFill = float64(itself) / float64(calls)
	}
	for c := range shard.NumCounters {
		switch {
		case c.IsDrop():
			n.Drops[c.String()] = v[c]
		case c.IsSendDrop():
			n.SendDrops[c.String()] = v[c]
		default:
			n.Counters[c.String()] = v[c]
		}
	}
	return n
}
