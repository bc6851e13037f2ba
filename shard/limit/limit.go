// Package limit counts what callers and streams have of a shard, and says when a limit is
// met: tables of sources and of streams, the number of events in ten seconds, bitrates over
// five, and the sums of all shards.
//
// A table belongs to its shard's loop. Once a second each shard publishes what its heaviest
// sources and streams have, and the lists of all shards are summed up. A shard adds its own
// present figures to the last ones of the others, so that a limit is exact to within a second,
// and nothing is locked.
//
// It must not know what a datagram is, nor read a clock: times are the shard's.
package limit

// Limit is a limit that can be met.
type Limit uint8

// The limits, by what they count.
const (
	NoLimit Limit = iota
	SourceSessions
	SourceConnects
	SourceBitrate
	SubnetSessions
	SubnetConnects
	SubnetBitrate
	StreamPlayers
	StreamBlocked // its publisher was above its bitrate moments ago
)

var limitNames = [...]string{
	NoLimit: "", SourceSessions: "source sessions", SourceConnects: "source connects", SourceBitrate: "source bitrate",
	SubnetSessions: "subnet sessions", SubnetConnects: "subnet connects", SubnetBitrate: "subnet bitrate",
	StreamPlayers: "stream players", StreamBlocked: "stream blocked",
}

// String returns the limit's name in events and in the API, "" for NoLimit.
func (l Limit) String() string {
	if int(l) < len(limitNames) {
		return limitNames[l]
	}
	return "unknown"
}

// All returns all limits.
func All() []Limit {
	all := make([]Limit, 0, len(limitNames))
	for l := NoLimit + 1; int(l) < len(limitNames); l++ {
		all = append(all, l)
	}
	return all
}
