package limit

import "time"

// Stream is what one stream has at a shard.
type Stream struct {
	Players, Publishers int32
	Bitrate             Rate // of the fastest publisher
	// BlockedUntil is when its publishers are let in again, 0 if they are.
	BlockedUntil time.Duration
	Refused      uint64
	Limits       StreamLimits
	// Epoch is what Limits are of: they are looked up anew when the shard's differs.
	Epoch uint32
}

// Count adds to the players or the publishers.
func (s *Stream) Count(publish bool, by int32) {
	if publish {
		s.Publishers += by
	} else {
		s.Players += by
	}
}

// Usage returns the figures to publish.
func (s *Stream) Usage(sweep uint32) StreamUsage {
	return StreamUsage{Players: s.Players, Publishers: s.Publishers, Bitrate: s.Bitrate.Read(sweep), Refused: s.Refused}
}

// StreamLimits are what a stream may have. 0 is no limit.
type StreamLimits struct {
	Players int
	Bitrate int64 // bit/s of a publisher, on the average of RateWindow
}

// StreamUsage are the figures of one stream.
type StreamUsage struct {
	Players, Publishers int32
	Bitrate             uint64 // bit/s, of the fastest publisher
	Refused             uint64
}

func (u *StreamUsage) add(v *StreamUsage) {
	u.Players += v.Players
	u.Publishers += v.Publishers
	u.Bitrate = max(u.Bitrate, v.Bitrate)
	u.Refused += v.Refused
}

func (u *StreamUsage) weight() uint64 { return uint64(u.Players) + uint64(u.Publishers) }

// Check returns the limit that another caller of the stream would exceed, NoLimit if it may
// come in. otherPlayers are those at other shards. replaces says that the new session takes
// the place of another of the stream, in the same role.
func (s *Stream) Check(publish bool, otherPlayers int32, now time.Duration, replaces bool) Limit {
	players := int(s.Players + otherPlayers)
	if replaces {
		players--
	}
	switch {
	case publish && now < s.BlockedUntil:
		return StreamBlocked
	case !publish && s.Limits.Players > 0 && players >= s.Limits.Players:
		return StreamPlayers
	}
	return NoLimit
}
