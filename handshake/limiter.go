package handshake

import "time"

// Limiter spaces out the answers that a stranger can provoke: at most one per
// interval to one source, and at most rate per second in all. It is a fixed
// table, so strangers cannot make it grow; sources that share a slot share
// its allowance, which costs them one retry.
type Limiter struct {
	interval time.Duration
	rate     float64 // tokens per second
	tokens   float64
	filled   time.Duration
	next     [limiterSlots]time.Duration
}

// limiterSlots keeps the table at 32 KiB and a shared slot unlikely among the
// hundreds of callers that reconnect together.
const limiterSlots = 4096

// NewLimiter returns a limiter with a full bucket of rate tokens.
func NewLimiter(interval time.Duration, rate int) *Limiter {
	return &Limiter{interval: interval, rate: float64(rate), tokens: float64(rate)}
}

// Allow reports whether the source with this hash may be answered now, and if
// so takes the allowance.
func (l *Limiter) Allow(now time.Duration, hash uint64) bool {
	slot := &l.next[hash%limiterSlots]
	if now < *slot {
		return false
	}
	l.tokens = min(l.rate, l.tokens+l.rate*(now-l.filled).Seconds())
	l.filled = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	*slot = now + l.interval
	return true
}
