// Package tokenbucket limits how often something happens. A bucket belongs to one goroutine,
// and the caller has the clock: on the path of a datagram neither a lock is taken nor the time
// read.
package tokenbucket

import "time"

// Bucket allows so many per second, and a burst. New makes one; the zero Bucket allows nothing.
type Bucket struct {
	rate, burst, tokens float64
	at                  time.Duration // when it was last filled
}

// New returns a full bucket at time 0.
func New(rate, burst float64) Bucket { return Bucket{rate: rate, burst: burst, tokens: burst} }

// Take reports whether there is a token, and takes it. A time before that of an earlier call
// adds none.
func (b *Bucket) Take(now time.Duration) bool {
	if now > b.at {
		b.tokens = min(b.burst, b.tokens+b.rate*(now-b.at).Seconds())
		b.at = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
