package shard

import (
	"time"

	"srtrelay/addr"
	"srtrelay/handshake"
)

// admission limits the handshakes and sessions of a shard, in all and per source,
// and the time that handshakes take from running sessions. It belongs to the
// loop.
type admission struct {
	limits   *Limits // the shard's
	counters *counterSet
	seed     uint64
	// cookies, dedup and staleCookies protect the stateless INDUCTION reply.
	cookies      *handshake.CookieGenerator
	dedup        *handshake.Dedup
	staleCookies *handshake.Limiter

	halfOpen int
	sources  map[addr.IP]sourceLoad
	budget   budget
}

func newAdmission(cfg *Config, limits *Limits, counters *counterSet, seed uint64) admission {
	cookies := handshake.NewCookieGenerator(cfg.Secret)
	cookies.Follow(cfg.SharedSecrets)
	return admission{
		limits: limits, counters: counters, seed: seed,
		cookies:      cookies,
		dedup:        new(handshake.Dedup),
		staleCookies: handshake.NewLimiter(reinductEvery, reinductRate),
		sources:      make(map[addr.IP]sourceLoad),
	}
}

// reinductEvery and reinductRate limit the answers to stale cookies: one per source
// address and port within libsrt's retry interval, and per shard what costs a
// fraction of a CPU in a flood.
const (
	reinductEvery = 200 * time.Millisecond
	reinductRate  = 2000 // per second
)

// sourceLoad is what one source has: handshakes that are half-open or were
// rejected moments ago, and sessions from established to freed.
type sourceLoad struct{ handshakes, sessions int }

// sourceOf returns what callers are counted by: an IPv4 address, or the /64 of an
// IPv6 address, all of which one host may own.
func sourceOf(ip addr.IP) addr.IP {
	if !ip.Is4() {
		clear(ip[8:])
	}
	return ip
}

// checkHandshake reports whether a cap of half-open handshakes forbids another
// one from ip, and counts which. Its CONCLUSION is then dropped: within a second
// or two there is room again, and the caller repeats it every 250 ms.
func (a *admission) checkHandshake(ip addr.IP) (drop Counter, limited bool) {
	switch {
	case a.halfOpen >= a.limits.MaxHalfOpen:
		a.counters.inc(CountAtHandshakeCap)
		return DropHandshakeCap, true
	case a.sources[sourceOf(ip)].handshakes >= a.limits.MaxHalfOpenPerSource:
		a.counters.inc(CountAtSourceCap)
		return DropSourceCap, true
	}
	return 0, false
}

// checkSession reports whether a cap of sessions forbids another one from ip
// beside the given number of all, and counts which. replaces says that the new
// session replaces one of the same source.
func (a *admission) checkSession(ip addr.IP, sessions int, replaces bool) (limited bool) {
	l := a.sources[sourceOf(ip)]
	others := l.handshakes + l.sessions
	if replaces {
		others--
	}
	switch {
	case sessions >= a.limits.MaxSessions:
		a.counters.inc(CountAtSessionCap)
	case a.limits.MaxSessionsPerSource > 0 && others >= a.limits.MaxSessionsPerSource:
		a.counters.inc(CountAtSourceSessionCap)
	default:
		return false
	}
	return true
}

// opened counts a handshake that has been opened.
func (a *admission) opened(ip addr.IP) {
	a.halfOpen++
	a.count(ip, 1, 0)
}

// established counts a half-open handshake as a session.
func (a *admission) established(ip addr.IP) {
	a.halfOpen--
	a.count(ip, -1, 1)
}

// rejected counts a handshake as no longer half-open. Its source is charged with
// it until it is freed: what is left of it takes as much memory, and may come
// faster.
func (a *admission) rejected() { a.halfOpen-- }

// hasRoom reports whether the cap of sessions of one source leaves room for one that comes from
// another one.
func (a *admission) hasRoom(ip addr.IP) bool {
	l := a.sources[sourceOf(ip)]
	return a.limits.MaxSessionsPerSource == 0 || l.handshakes+l.sessions < a.limits.MaxSessionsPerSource
}

// moved counts a session whose caller has another address.
func (a *admission) moved(from, to addr.IP) {
	a.count(from, 0, -1)
	a.count(to, 0, 1)
}

// freed ends the charge for a session that was rejected, or has ended.
func (a *admission) freed(ip addr.IP, st State) {
	if st == StateRejected {
		a.count(ip, -1, 0)
	} else {
		a.count(ip, 0, -1)
	}
}

// restored counts a session as the calls above have in another process.
func (a *admission) restored(ip addr.IP, st State) {
	switch st {
	case StateResolving, StateConnecting:
		a.opened(ip)
	case StateRejected:
		a.count(ip, 1, 0)
	default:
		a.count(ip, 0, 1)
	}
}

func (a *admission) count(ip addr.IP, handshakes, sessions int) {
	ip = sourceOf(ip)
	l := a.sources[ip]
	l.handshakes += handshakes
	l.sessions += sessions
	if l == (sourceLoad{}) {
		delete(a.sources, ip)
	} else {
		a.sources[ip] = l
	}
}

// What a handshake costs of the loop's time: an INDUCTION takes a hash and a
// reply; a CONCLUSION is parsed, routed, kept, sent to a backend and answered
// (measured: 53 us of CPU time for a whole handshake).
const (
	inductionCost  = 4 * time.Microsecond
	conclusionCost = 60 * time.Microsecond
)

const (
	// handshakeShare is the divisor of the time that handshakes may take of a
	// loop that is never idle while sessions carry media.
	handshakeShare = 4
	// handshakeBurst is how much unused time is kept for later handshakes.
	handshakeBurst = 200 * time.Millisecond
	// sourceBurst is what one source may use of it within handshakeBurst.
	sourceBurst = handshakeBurst / 2
	// mediaPerHandshake tells sessions that carry media from those that
	// connect and end: bytes relayed per handshake.
	mediaPerHandshake = 64
	judgeEvery        = 20 * time.Millisecond
	budgetSlots       = 256
)

// budget limits handshakes to the time that running sessions leave. Its table has
// a fixed size, which no flood can change; sources that share a slot share its
// part.
type budget struct {
	left     time.Duration
	at       time.Duration // of the last turn
	idle     time.Duration // when the loop began to wait, 0 if it did not
	media    bool          // sessions carry media, as of judged
	judged   time.Duration
	bytes    uint64
	opened   uint64
	cleared  time.Duration
	bySource [budgetSlots]time.Duration
}

// begin starts a turn. It adds the time that the loop waited since the last turn,
// and a share of the time that it worked. bytes and opened are the totals of what
// was relayed and of the handshakes.
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

// waits notes that the loop is idle from now on.
func (b *budget) waits(now time.Duration) { b.idle = now }

// allow takes the cost of a handshake datagram from a source with this hash;
// false if there is no time for it. While no session carries media there is no limit.
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

// affords takes the cost of a handshake datagram out of the budget; false if there
// is no time for it.
func (a *admission) affords(ip addr.IP, cost time.Duration) bool {
	return !a.budget.media || a.budget.allow(addr.AddrPort{IP: sourceOf(ip)}.Hash(a.seed), cost)
}
