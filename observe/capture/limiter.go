package capture

import "time"

// Limiter lets so many datagrams per second pass, and as many at once. The
// zero Limiter lets all pass. It reads no clock: times are the caller's, and
// one that lies before the last changes nothing.
type Limiter struct {
	rate int64
	// credit is what may pass now, in billionths of a datagram: a nanosecond
	// earns rate of them.
	credit int64
	last   time.Duration
}

const oneDatagram = int64(time.Second)

// MaxRate is the greatest rate of a Limiter: beyond what a relay forwards.
const MaxRate = 10_000_000

// NewLimiter makes a Limiter; a rate of 0 lets all pass.
func NewLimiter(rate int) Limiter {
	r := int64(min(rate, MaxRate))
	return Limiter{rate: r, credit: max(r, 1) * oneDatagram}
}

// Allow takes one datagram's credit.
func (l *Limiter) Allow(now time.Duration) bool {
	if l.rate == 0 {
		return true
	}
	if now > l.last {
		// Within a second's worth nothing overflows; more is never kept.
		passed := min(now-l.last, time.Second)
		l.credit = min(l.credit+int64(passed)*l.rate, l.rate*oneDatagram)
		l.last = now
	}
	if l.credit < oneDatagram {
		return false
	}
	l.credit -= oneDatagram
	return true
}
