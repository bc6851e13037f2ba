package shard

import (
	"time"

	"srtrelay/addr"
	"srtrelay/shard/limit"
)

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
	// inductionPart is how many quarters of the time INDUCTIONs may use.
	inductionPart = 3
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
	left time.Duration
	// inductions is what INDUCTIONs may use of left.
	inductions time.Duration
	at         time.Duration // of the last turn
	idle       time.Duration // when the loop began to wait, 0 if it did not
	media      bool          // sessions carry media, as of judged
	judged     time.Duration
	bytes      uint64
	opened     uint64
	cleared    time.Duration
	bySource   [budgetSlots]time.Duration
}

// begin starts a turn. It adds the time that the loop waited since the last turn,
// and a share of the time that it worked. bytes and opened are the totals of what
// was relayed and of the handshakes.
func (b *budget) begin(now time.Duration, bytes, opened uint64) {
	worked, idle := now-b.at, time.Duration(0)
	if b.idle > b.at {
		worked, idle = b.idle-b.at, now-b.idle
	}
	more := idle + worked/handshakeShare
	b.left = min(b.left+more, handshakeBurst)
	b.inductions = min(b.inductions+more*inductionPart/4, handshakeBurst*inductionPart/4)
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

// affordsInduction takes the cost of an INDUCTION out of the budget; false if there is no
// time for it. Anyone can forge INDUCTIONs from any address, so that a part of the budget is
// kept from them, for CONCLUSIONs, whose cookies prove where their callers are.
func (a *admission) affordsInduction(ip addr.IP) bool {
	b := &a.budget
	if !b.media {
		return true
	}
	if b.inductions < inductionCost || !a.affords(ip, inductionCost) {
		return false
	}
	b.inductions -= inductionCost
	return true
}

// affords takes the cost of a handshake datagram out of the budget; false if there
// is no time for it.
func (a *admission) affords(ip addr.IP, cost time.Duration) bool {
	source := limit.PrefixOf(ip, limit.LevelSource)
	return !a.budget.media || a.budget.allow(addr.AddrPort{IP: source.IP}.Hash(a.seed), cost)
}
