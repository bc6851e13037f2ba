package shard

import (
	"time"

	"srtrelay/addr"
)

// load is what one source holds: handshakes that are half-open or were rejected
// moments ago, and sessions from their beginning until they are forgotten.
type load struct{ handshakes, sessions int }

// source is what callers are counted by: an IPv4 address, or the /64 that a
// single IPv6 host owns whole.
func source(ip addr.IP) addr.IP {
	if !ip.Is4() {
		clear(ip[8:])
	}
	return ip
}

// crowded reports whether a cap of half-open handshakes leaves no room for
// another one from ip, and counts which. It is over within a second or two, so
// that the CONCLUSION is dropped: its caller repeats it every 250 ms.
func (s *Shard) crowded(ip addr.IP) (Counter, bool) {
	switch {
	case s.halfOpen >= s.cfg.MaxHalfOpen:
		s.counters.inc(AtHandshakeCap)
		return DropHandshakeCap, true
	case s.sources[source(ip)].handshakes >= s.cfg.MaxPerSource:
		s.counters.inc(AtSourceCap)
		return DropSourceCap, true
	}
	return 0, false
}

// full reports whether a cap of sessions forbids another one from ip, and
// counts which. old is the session that it would replace, nil for none.
func (s *Shard) full(ip addr.IP, old *Session) bool {
	l := s.sources[source(ip)]
	others := l.handshakes + l.sessions
	if old != nil {
		others--
	}
	switch {
	case s.sessions.live >= s.cfg.MaxSessions:
		s.counters.inc(AtSessionCap)
	case s.cfg.MaxSessionsPerSource > 0 && others >= s.cfg.MaxSessionsPerSource:
		s.counters.inc(AtSourceSessionCap)
	default:
		return false
	}
	return true
}

// count changes what a source holds.
func (s *Shard) count(ip addr.IP, handshakes, sessions int) {
	ip = source(ip)
	l := s.sources[ip]
	l.handshakes += handshakes
	l.sessions += sessions
	if l == (load{}) {
		delete(s.sources, ip)
	} else {
		s.sources[ip] = l
	}
}

// Costs of handshakes, in time of the loop: an INDUCTION is a hash and a reply,
// a CONCLUSION is parsed, routed, kept, carried to a backend and answered
// (measured: 53 us of a core for all of a handshake).
const (
	inductionCost  = 4 * time.Microsecond
	conclusionCost = 60 * time.Microsecond
)

const (
	// handshakeShare is the part of the time that handshakes may take of a
	// loop that has no rest while sessions carry media: a quarter.
	handshakeShare = 4
	// handshakeBurst is what may be saved up: 3,300 callers at once.
	handshakeBurst = 200 * time.Millisecond
	// sourceBurst is what one source may take of that within as long.
	sourceBurst = handshakeBurst / 2
	// mediaPerHandshake tells sessions that carry media from those that
	// connect and end: bytes relayed per handshake.
	mediaPerHandshake = 64
	judgeEvery        = 20 * time.Millisecond
	budgetSlots       = 256
)

// budget holds handshakes to the time that running sessions leave. It is a
// fixed table that strangers cannot make grow; sources that share a slot share
// its part.
type budget struct {
	left     time.Duration
	at       time.Duration // of the last turn
	idle     time.Duration // when the loop last began to wait, 0 if it did not
	media    bool          // sessions carry media, as of judged
	judged   time.Duration
	bytes    uint64
	opened   uint64
	cleared  time.Duration
	bySource [budgetSlots]time.Duration
}

// begin takes a turn: what the loop waited since the last one is for handshakes,
// and a share of what it worked. bytes and opened count what is relayed and the
// handshakes so far.
func (b *budget) begin(now time.Duration, bytes, opened uint64) {
	worked, idle := now-b.at, time.Duration(0)
	if b.idle > b.at {
		worked, idle = b.idle-b.at, now-b.idle
	}
	b.left = min(b.left+idle+worked/handshakeShare, handshakeBurst)
	b.at, b.idle = now, 0
	if now-b.judged >= judgeEvery {
		b.media = bytes-b.bytes > (opened-b.opened)*mediaPerHandshake
		b.judged, b.bytes, b.opened = now, bytes, opened
	}
	if now-b.cleared >= handshakeBurst {
		b.cleared = now
		clear(b.bySource[:])
	}
}

// waits notes that the loop has nothing to do from now on.
func (b *budget) waits(now time.Duration) { b.idle = now }

// allow takes the cost of a handshake datagram from a source with this hash;
// false if there is no time for it. Without media nobody has to give way.
func (b *budget) allow(hash uint64, cost time.Duration) bool {
	if !b.media {
		return true
	}
	slot := &b.bySource[hash%budgetSlots]
	if b.left < cost || *slot+cost > sourceBurst {
		return false
	}
	b.left -= cost
	*slot += cost
	return true
}

// affords is allow for the source of a datagram.
func (s *Shard) affords(ip addr.IP, cost time.Duration) bool {
	return !s.budget.media || s.budget.allow(addr.AddrPort{IP: source(ip)}.Hash(s.seed), cost)
}
