package answer

// Levels of sources.
const (
	LevelSource = "source" // an IPv4 address, an IPv6 /64
	LevelSubnet = "subnet" // an IPv4 /24, an IPv6 /56
)

// Levels are all levels; the first is the default.
var Levels = []string{LevelSource, LevelSubnet}

// Orders of sources, the greatest value first.
const (
	SortConnects = "connects"
	SortRefused  = "refused"
)

// SourceOrders are all orders of sources; the first is the default.
var SourceOrders = []string{SortSessions, SortConnects, SortBitrate, SortRefused}

// SourceQuery selects sources, and their order.
type SourceQuery struct {
	Level string // one of Levels
	Sort  string // one of SourceOrders
	Limit int    // at most this many
}

// SourceList is the answer to GET /api/v1/sources: the heaviest sources, up to two seconds
// old.
type SourceList struct {
	Sources []Source `json:"sources"`
	// Total is how many the relay has counted at this level. Of each shard it counts only
	// the heaviest 4096.
	Total int `json:"total"`
}

// Source is what callers of one address or subnet have of the relay.
type Source struct {
	Source     string `json:"source"`     // a network like 192.0.2.1/32
	Sessions   int    `json:"sessions"`   // established, and those that ended moments ago
	Handshakes int    `json:"handshakes"` // half-open, and those that were rejected moments ago
	// Connects is how many callers were let in per second, in the last ten seconds.
	Connects float64 `json:"connects"`
	// Bitrate is what its publishers send and its players get, in bit/s, in the last five
	// seconds.
	Bitrate float64 `json:"bitrate"`
	// Refused is how many callers were refused at a limit since the source is counted; Limit
	// is the last such limit, absent if there was none.
	Refused uint64 `json:"refused"`
	Limit   string `json:"limit,omitempty"`
}
