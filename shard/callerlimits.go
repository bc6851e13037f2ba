package shard

import (
	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/shard/limit"
	"srtrelay/streamid/rules"
	"srtrelay/udp"
	"srtrelay/wire"
)

// answeredRefusals is how many callers of one source get a rejection in
// limit.WindowLength when a limit is met: enough for several ffmpegs, which retry eight
// times each. Further ones are dropped. A caller that may come in is let in all the same.
const answeredRefusals = 64

var limitCounters = [...]Counter{
	limit.SourceSessions: CountAtSourceSessionCap, limit.SourceConnects: CountAtSourceConnects, limit.SourceBitrate: CountAtSourceBitrate,
	limit.SubnetSessions: CountAtSubnetSessions, limit.SubnetConnects: CountAtSubnetConnects, limit.SubnetBitrate: CountAtSubnetBitrate,
	limit.StreamPlayers: CountAtStreamPlayers, limit.StreamBlocked: CountAtStreamBlocked,
}

// limitsOf returns the limits of a caller's source and subnet: those of the rules, and for
// what these leave open those of the configuration.
func (s *Shard) limitsOf(ip addr.IP) (source, subnet limit.SourceLimits) {
	l := &s.limits
	source = limit.SourceLimits{
		Sessions: l.MaxSessionsPerSource, Handshakes: l.MaxHalfOpenPerSource, Connects: l.MaxConnectsPerSource, Bitrate: l.MaxBitratePerSource,
	}
	subnet = l.Subnet
	if set := s.cfg.Rules.Set(); set.LimitsSources() {
		byRules := set.SourceLimits(ip.Netip())
		override(&source, &byRules[limit.LevelSource])
		override(&subnet, &byRules[limit.LevelSubnet])
	}
	return source, subnet
}

// override sets the limits that the rules have.
func override(l *limit.SourceLimits, r *rules.SourceLimits) {
	l.Sessions, l.Handshakes = int(r.Sessions.Or(int64(l.Sessions))), int(r.Handshakes.Or(int64(l.Handshakes)))
	l.Connects, l.Bitrate = int(r.Connects.Or(int64(l.Connects))), r.Bitrate.Or(l.Bitrate)
}

// limitsEpoch returns a number that changes when the limits or the rules do.
func (s *Shard) limitsEpoch() uint32 {
	u := &s.usage
	if set := s.cfg.Rules.Set(); set != u.rules {
		u.rules = set
		u.epoch++
	}
	return u.epoch
}

// streamLimits returns the limits of a stream.
func (s *Shard) streamLimits(key string) limit.StreamLimits {
	byRules := s.cfg.Rules.Set().StreamLimits(key)
	return limit.StreamLimits{
		Players: int(byRules.Players.Or(int64(s.limits.Stream.Players))), Bitrate: byRules.Bitrate.Or(s.limits.Stream.Bitrate),
	}
}

// hasLimits reports whether a stream has limits.
func (s *Shard) hasLimits(key string) bool { return s.streamLimits(key) != (limit.StreamLimits{}) }

// limitsOfStream returns the limits of a stream that is in the table.
func (s *Shard) limitsOfStream(st *limit.Stream, key string) *limit.StreamLimits {
	if epoch := s.limitsEpoch(); st.Epoch != epoch {
		st.Epoch, st.Limits = epoch, s.streamLimits(key)
	}
	return &st.Limits
}

// checkSource returns the limit of its source, or of its subnet, that a new caller would
// exceed; halfOpen if it is that of half-open handshakes. replaces says that the new session
// replaces one of the same caller.
func (s *Shard) checkSource(ip addr.IP, replaces bool) (met limit.Limit, halfOpen bool) {
	source, subnet := s.limitsOf(ip)
	for level, limits := range [...]*limit.SourceLimits{limit.LevelSource: &source, limit.LevelSubnet: &subnet} {
		own, met := s.checkPrefix(limits, limit.PrefixOf(ip, limit.Level(level)), replaces)
		if met != limit.NoLimit {
			return met, false
		}
		halfOpen = halfOpen || own != nil && limits.Handshakes > 0 && int(own.Handshakes) >= limits.Handshakes
	}
	return limit.NoLimit, halfOpen
}

// checkPrefix returns the limit that another caller of a source or subnet would exceed, and what
// this shard has of it, nil for nothing.
func (s *Shard) checkPrefix(l *limit.SourceLimits, p limit.Prefix, replaces bool) (own *limit.Source, met limit.Limit) {
	own = s.usage.sources.Find(p)
	others := s.usage.sums.Totals().OtherSource(s.id, p)
	return own, l.Check(own, &others, p.Level, s.now, s.usage.sweep, replaces)
}

// hasRoom reports whether no limit keeps a session from moving from an address to another: none
// of a source or subnet that it is not counted at already.
func (s *Shard) hasRoom(from, to addr.IP) bool {
	source, subnet := s.limitsOf(to)
	for level, limits := range [...]*limit.SourceLimits{limit.LevelSource: &source, limit.LevelSubnet: &subnet} {
		prefix := limit.PrefixOf(to, limit.Level(level))
		if prefix == limit.PrefixOf(from, limit.Level(level)) {
			continue
		}
		if _, met := s.checkPrefix(limits, prefix, false); met != limit.NoLimit {
			return false
		}
	}
	return true
}

// checkHalfOpen reports whether there are too many half-open handshakes for another one, and
// counts of whom: of the shard, or ofSource. Its CONCLUSION is then dropped: within a second
// or two there is room again, and the caller repeats it every 250 ms.
func (s *Shard) checkHalfOpen(ofSource bool) (drop Counter, limited bool) {
	switch {
	case s.admission.halfOpen >= s.limits.MaxHalfOpen:
		s.counters.inc(CountAtHandshakeCap)
		return DropHandshakeCap, true
	case ofSource:
		s.counters.inc(CountAtSourceCap)
		return DropSourceCap, true
	}
	return 0, false
}

// checkStream returns the limit of its stream that a new caller would exceed. old, at index
// i, is the session that the new one replaces, nil if there is none.
func (s *Shard) checkStream(key string, publish bool, i uint32, old *session) limit.Limit {
	u := &s.usage
	st := u.streams.Find(key)
	if st == nil {
		st = new(limit.Stream)
	}
	s.limitsOfStream(st, key)
	replaces := false
	if old != nil {
		r := u.account(i).stream
		replaces = r != 0 && old.publisher == publish && u.streams.At(r) == st
	}
	met := st.Check(publish, u.sums.Totals().OtherPlayers(s.id, key), s.now, replaces)
	if met != limit.NoLimit {
		st.Refused++
	}
	return met
}

// codeOfLimit is the rejection of a caller at a limit. Overload says that there may be room
// soon, or at another relay. A blocked stream is forbidden: until its publisher sends less
// it would be ended again, at any relay.
func codeOfLimit(met limit.Limit) handshake.Code {
	if met == limit.StreamBlocked {
		return handshake.CodeForbidden
	}
	return handshake.CodeOverload
}

// refuse rejects a caller at a limit, at once, or drops its CONCLUSION if its source has had
// enough rejections. q is what is known of the caller.
func (s *Shard) refuse(front uint8, d *udp.Datagram, h wire.Handshake, met limit.Limit, q backend.Query) Counter {
	s.counters.inc(limitCounters[met])
	for level := range limit.Levels {
		one := s.usage.sources.Use(limit.PrefixOf(d.From.IP, level))
		one.Refused++
		one.Last = met
	}
	source := s.usage.sources.Use(limit.PrefixOf(d.From.IP, limit.LevelSource))
	if source.Refusals.Count(s.now) >= answeredRefusals {
		return DropSilenced
	}
	if !s.admission.affords(d.From.IP, inductionCost) {
		return DropHandshakeBudget
	}
	source.Refusals.Add(s.now)
	code := codeOfLimit(met)
	s.emit(Event{
		Kind: EventCallerRejected, Caller: d.From.Netip(), CallerID: h.SocketID(), Key: q.Key, StreamID: q.StreamID, Publish: q.Publish,
		Code: code, Limit: met,
	})
	return s.rejectStateless(front, d, h, code)
}
