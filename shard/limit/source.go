package limit

import (
	"net/netip"
	"time"

	"srtrelay/addr"
)

// Level is how much of an address names a source.
type Level uint8

// The levels. One host may have all addresses of an IPv6 /64, and one customer those of a
// /56, as it may have an IPv4 address, or those of a /24.
const (
	LevelSource Level = iota // an IPv4 address, an IPv6 /64
	LevelSubnet              // an IPv4 /24, an IPv6 /56
	Levels
)

// bits are the lengths of a level's prefixes.
func (l Level) bits() (v4, v6 int) {
	if l == LevelSubnet {
		return 24, 56
	}
	return 32, 64
}

// Prefix is what callers are counted by at one level.
type Prefix struct {
	IP    addr.IP
	Level Level
}

// PrefixOf returns what a caller is counted by at a level.
func PrefixOf(ip addr.IP, l Level) Prefix {
	v4, v6 := l.bits()
	if ip.Is4() {
		clear(ip[12+v4/8:])
	} else {
		clear(ip[v6/8:])
	}
	return Prefix{ip, l}
}

// Netip returns the prefix in the form of package netip.
func (p Prefix) Netip() netip.Prefix {
	v4, v6 := p.Level.bits()
	ip := p.IP.Netip()
	if ip.Is4() {
		return netip.PrefixFrom(ip, v4)
	}
	return netip.PrefixFrom(ip, v6)
}

// Source is what one source has at a shard.
type Source struct {
	// Handshakes are half-open or were rejected moments ago; Sessions count from
	// established to freed.
	Handshakes, Sessions int32
	Connects             Window // handshakes that were let in
	Refusals             Window // callers that were refused because a limit was met
	Bitrate              Rate   // of all sessions, both ways, summed up
	Refused              uint64 // all refusals, also those without an answer
	Last                 Limit  // the last one that was met
}

// Usage returns the figures to publish.
func (s *Source) Usage(now time.Duration, sweep uint32) SourceUsage {
	return SourceUsage{
		Sessions: s.Sessions, Handshakes: s.Handshakes, Connects: s.Connects.Count(now),
		Bitrate: s.Bitrate.Read(sweep), Refused: s.Refused, Last: s.Last,
	}
}

// SourceUsage are the figures of one source. Those of all shards add up.
type SourceUsage struct {
	Sessions, Handshakes int32
	Connects             uint32 // in the last WindowLength
	Bitrate              uint64 // bit/s
	Refused              uint64
	Last                 Limit
}

// add adds the figures of another shard.
func (u *SourceUsage) add(v *SourceUsage) {
	u.Sessions += v.Sessions
	u.Handshakes += v.Handshakes
	u.Connects += v.Connects
	u.Bitrate += v.Bitrate
	u.Refused += v.Refused
	u.Last = max(u.Last, v.Last)
}

// without returns the figures without those of one shard.
func (u SourceUsage) without(v *SourceUsage) SourceUsage {
	u.Sessions -= v.Sessions
	u.Handshakes -= v.Handshakes
	u.Connects -= min(v.Connects, u.Connects)
	u.Bitrate -= min(v.Bitrate, u.Bitrate)
	return u
}

// IsZero reports whether the source has nothing, and has had nothing lately.
func (u *SourceUsage) IsZero() bool {
	return u.Sessions == 0 && u.Handshakes == 0 && u.Connects == 0 && u.Bitrate == 0
}

// weight says which sources are published if there are too many: a session counts as
// much as a connect, or 1 Mbit/s.
func (u *SourceUsage) weight() uint64 {
	return uint64(u.Sessions+u.Handshakes) + uint64(u.Connects) + u.Bitrate/1_000_000 + min(u.Refused, 1000)
}

// SourceLimits are what a source may have. 0 is no limit.
type SourceLimits struct {
	Sessions   int
	Handshakes int   // half-open, per shard
	Connects   int   // per second, on the average of WindowLength
	Bitrate    int64 // bit/s, on the average of RateWindow
}

// Check returns the first limit that another caller of the source would exceed, besides
// that of half-open handshakes; NoLimit if it may come in. others is what the other shards
// have. replaces says that the new session takes the place of one of the same source.
func (l *SourceLimits) Check(own *Source, others *SourceUsage, level Level, now time.Duration, sweep uint32, replaces bool) Limit {
	if own == nil {
		own = new(Source)
	}
	sessions := int(own.Sessions + own.Handshakes + others.Sessions + others.Handshakes)
	if replaces {
		sessions--
	}
	met := NoLimit
	switch {
	case l.Sessions > 0 && sessions >= l.Sessions:
		met = SourceSessions
	case l.Connects > 0 && int(own.Connects.Count(now)+others.Connects) >= l.Connects*int(WindowLength/time.Second):
		met = SourceConnects
	case l.Bitrate > 0 && own.Bitrate.Read(sweep)+others.Bitrate >= uint64(l.Bitrate):
		met = SourceBitrate
	default:
		return NoLimit
	}
	if level == LevelSubnet {
		met += SubnetSessions - SourceSessions
	}
	return met
}
