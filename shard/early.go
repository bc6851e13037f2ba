package shard

import (
	"time"

	"srtrelay/addr"
	"srtrelay/shard/letterbox"
	"srtrelay/wire"
)

// earlyAddress is where a datagram came from that could be the caller's, had the old address been
// silent for long enough. It is challenged when that is so. A player of gosrt sends nothing while
// it gets nothing: the one ACK that its socket sends behind a change of address comes too early,
// and the next datagram a second later.
type earlyAddress struct {
	from   addr.AddrPort
	local  addr.IP
	sender int16
	size   int           // of the datagram
	at     time.Duration // when it came
	due    time.Duration // when the old address will have been silent for long enough
}

// early keeps such an address, the last one of a session: nothing is sent there yet, so that
// a forged one does no more than take the place of another.
func (s *Shard) early(i uint32, ss *session, l *letterbox.Letter, size int) {
	if _, known := s.earlyAddresses[i]; !known && len(s.earlyAddresses) >= candidateLimit {
		return
	}
	s.earlyAddresses[i] = earlyAddress{
		from: l.From, local: l.Local, sender: l.Sender, size: size,
		at: s.now, due: s.stalls.extend(ss.callerSeen) + s.quiet(ss),
	}
	s.wheel.Set(i, s.checkDue(i, ss))
}

// tickEarly challenges the early address of a session whose caller has been silent since.
func (s *Shard) tickEarly(i uint32, ss *session) {
	e, waits := s.earlyAddresses[i]
	if !waits || s.now < e.due {
		return
	}
	delete(s.earlyAddresses, i)
	silent := s.now - s.stalls.extend(ss.callerSeen)
	switch {
	case ss.callerSeen >= e.at || silent < s.quiet(ss) || !s.limits.Migration:
	case !s.mayBegin(i, ss, e.from.IP):
	default:
		s.begin(i, ss, &letterbox.Letter{From: e.from, Local: e.local, Sender: e.sender, Front: ss.front}, true, e.size)
	}
}

// mayBegin reports whether a session may have a candidate at an address, and one more challenge
// may be sent.
func (s *Shard) mayBegin(i uint32, ss *session, ip addr.IP) bool {
	return !s.candidates[i].holds(s.now) && s.admits(i, ss, ip) && len(s.candidates) < candidateLimit && s.challenges.Take(s.now)
}

// comesEarly reports whether a datagram would move its session at once, were the old address not
// in use until a moment ago.
func (s *Shard) comesEarly(i uint32, ss *session, p wire.Packet) bool {
	t := &s.sessions.cold(i).trace
	return s.now-ss.establishedAt >= minMigrationAge && mayMigrate(p) && s.timely(i, ss, t, p) &&
		t.busy(ss.callerSeen) && s.numbers(i, ss, t, p) == strong
}
