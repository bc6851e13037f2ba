package capture

import "time"

// Limiter is a token bucket that allows a number of datagrams per second, and as many in a
// burst. The zero Limiter allows all. It reads no clock: the caller passes the time; an
// earlier time than the last adds no credit.
type Limiter struct {
	rate int64
	// credit is in billionths of a datagram; each nanosecond adds rate of them.
	credit int64
	last   time.Duration
}

const oneDatagram = int64(time.Second)

// MaxRate is the greatest rate of a Limiter, more than a relay can forward.
const MaxRate = 10_000_000

// NewLimiter returns a Limiter; a rate of 0 allows all.
func NewLimiter(rate int) Limiter {
	r := int64(min(rate, MaxRate))
	return Limiter{rate: r, credit: max(r, 1) * oneDatagram}
}

// Allow reports whether a datagram is within the rate, and takes its credit.
func (l *Limiter) Allow(now time.Duration) bool {
	if l.rate == 0 {
		return true
	}
	if now > l.last {
		// The credit is at most that of one second, which does not overflow.
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
