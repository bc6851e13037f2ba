package migration

import (
	"time"

	"srtrelay/wire"
)

// Strays limits the datagrams that anybody can cause a session's owner to look at: in all, and per
// socket ID, so that a flood for one session leaves the others their part. ACKACKs, which answer
// challenges, have a budget of their own: else media could take the place of the answer. The time
// of the loop that it allows is about a hundredth.
type Strays struct {
	cleared time.Duration
	used    [2]int
	byID    [2][straySlots]uint8
}

const (
	// StraysPerID is how many it allows in StrayEvery, of the IDs that share a slot.
	StraysPerID = 64
	StrayEvery  = 100 * time.Millisecond

	straySlots  = 256
	straysInAll = 1024 // in StrayEvery
)

// Allow takes a datagram out of the budget.
func (b *Strays) Allow(now time.Duration, p wire.Packet) bool {
	if now-b.cleared >= StrayEvery {
		*b = Strays{cleared: now}
	}
	lane := 0
	if p.Is(wire.TypeACKACK) {
		lane = 1
	}
	slot := &b.byID[lane][p.DestID()%straySlots]
	if b.used[lane] >= straysInAll || *slot >= StraysPerID {
		return false
	}
	b.used[lane]++
	*slot++
	return true
}
