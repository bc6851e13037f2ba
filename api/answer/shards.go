package answer

import "time"

// ShardList is the answer to GET /api/v1/shards.
type ShardList struct {
	Shards []Shard `json:"shards"`
	Total  Numbers `json:"total"`
	// KernelPath is what the kernel relays itself.
	KernelPath KernelPath `json:"kernel_path"`
	// Overload says how near the relay is to its limits.
	Overload Overload `json:"overload"`
	// TakenAt is when the counters were read.
	TakenAt time.Time `json:"taken_at"`
}

// Shard holds the counters of one shard.
type Shard struct {
	Shard int `json:"shard"`
	Numbers
}

// Numbers are the counters of one shard, or their totals.
type Numbers struct {
	// Sessions are the established ones, HalfOpen those whose handshake is not
	// complete. Sessions that have ended count as neither.
	Sessions uint64 `json:"sessions"`
	HalfOpen uint64 `json:"half_open"`
	// Packets and Bytes count what was received, from callers and backends.
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	// BatchFill is received datagrams per receive call.
	BatchFill   float64           `json:"batch_fill"`
	KernelDrops uint64            `json:"kernel_drops"`
	Drops       map[string]uint64 `json:"drops"`
	SendDrops   map[string]uint64 `json:"send_drops"`
	// Counters are all other counters by name.
	Counters map[string]uint64 `json:"counters"`
}
