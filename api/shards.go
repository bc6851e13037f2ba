package api

import (
	"net/http"

	"srtrelay/shard"
)

// numbers are the counters of one shard, or of all together.
type numbers struct {
	Sessions uint64 `json:"sessions"`
	HalfOpen uint64 `json:"half_open"`
	// Packets and Bytes were received, from callers and backends.
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	// BatchFill is received datagrams per receive call.
	BatchFill   float64           `json:"batch_fill"`
	KernelDrops uint64            `json:"kernel_drops"`
	Drops       map[string]uint64 `json:"drops"`
	SendDrops   map[string]uint64 `json:"send_drops"`
	// Counters are all the others by name.
	Counters map[string]uint64 `json:"counters"`
}

type shardEntry struct {
	Shard int `json:"shard"`
	numbers
}

// shardList is the answer's data.
type shardList struct {
	Shards []shardEntry `json:"shards"`
	Total  numbers      `json:"total"`
}

func (h *handler) shards(w http.ResponseWriter, _ *http.Request) {
	stats := h.rooms.Shards.Stats()
	list := shardList{Shards: make([]shardEntry, 0, len(stats))}
	var sum shard.Stats
	for _, s := range stats {
		list.Shards = append(list.Shards, shardEntry{s.Shard, count(s)})
		for i, v := range s.Values {
			sum.Values[i] += v
		}
	}
	list.Total = count(sum)
	write(w, http.StatusOK, reply{Data: list})
}

// count sorts a shard's counters into the answer. A counter that a later
// version adds finds its place by its kind.
func count(s shard.Stats) numbers {
	v := &s.Values
	n := numbers{
		Sessions:    v[shard.Sessions],
		HalfOpen:    v[shard.HalfOpen],
		Packets:     v[shard.ReceivedFront] + v[shard.ReceivedBack],
		Bytes:       v[shard.ReceivedFrontBytes] + v[shard.ReceivedBackBytes],
		KernelDrops: v[shard.KernelDrops],
		Drops:       map[string]uint64{},
		SendDrops:   map[string]uint64{},
		Counters:    map[string]uint64{},
	}
	if calls := v[shard.ReceiveCalls]; calls > 0 {
		n.BatchFill = float64(n.Packets) / float64(calls)
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
