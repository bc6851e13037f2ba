package migration

import (
	"time"

	"srtrelay/wire"
)

// Limiter limits the datagrams from other addresses at which a session's owner looks: in all, and
// per socket ID, so that a flood for one session leaves the others their part. ACKACKs, which answer
// challenges, have a budget of their own: else media could take the place of the answer. The time
// of the loop that it allows is about a hundredth.
type Limiter struct {
	cleared time.Duration
	used    [2]int
	byID    [2][limiterSlots]uint8
}

const (
	// LimiterPerID is how many it allows in LimiterPeriod, of the IDs that share a slot.
	LimiterPerID  = 64
	LimiterPeriod = 100 * time.Millisecond

	limiterSlots = 256
	limiterInAll = 1024 // in LimiterPeriod
)

// Allow takes a datagram out of the budget.
func (l *Limiter) Allow(now time.Duration, p wire.Packet) bool {
	if now-l.cleared >= LimiterPeriod {
		*l = Limiter{cleared: now}
	}
	kind := 0
	if p.Is(wire.TypeACKACK) {
		kind = 1
	}
	slot := &l.byID[kind][p.DestID()%limiterSlots]
	if l.used[kind] >= limiterInAll || *slot >= LimiterPerID {
		return false
	}
	l.used[kind]++
	*slot++
	return true
}
