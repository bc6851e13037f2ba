package handshake

import (
	"time"

	"srtrelay/internal/tokenbucket"
)

// Limiter limits the replies to unauthenticated datagrams: at most one per
// interval to one source, and at most rate per second in all. Its table has a
// fixed size, which no flood can change; sources that share a slot share its
// allowance, which costs them one retry.
type Limiter struct {
	interval  time.Duration
	all       tokenbucket.Bucket
	allowedAt [limiterSlots]time.Duration
}

// limiterSlots makes a shared slot unlikely among the hundreds of callers that
// reconnect together; the table takes 32 KiB.
const limiterSlots = 4096

// NewLimiter returns a limiter with a full bucket of rate tokens.
func NewLimiter(interval time.Duration, rate int) *Limiter {
	return &Limiter{interval: interval, all: tokenbucket.New(float64(rate), float64(rate))}
}

// Allow reports whether the source with this hash may be answered now, and if so
// counts the answer.
func (l *Limiter) Allow(now time.Duration, hash uint64) bool {
	slot := &l.allowedAt[hash%limiterSlots]
	if now < *slot || !l.all.Take(now) {
		return false
	}
	*slot = now + l.interval
	return true
}

// Recent remembers requests by their hashes. Its size is fixed: a request may be forgotten early,
// when another one takes its place. One table takes 64 KiB.
type Recent struct {
	slots [recentSlots]struct {
		hash uint64
		at   time.Duration
	}
}

// recentSlots keeps a thousand callers apart within duplicateWindow.
const recentSlots = 4096

// Note remembers a request.
func (r *Recent) Note(now time.Duration, hash uint64) {
	slot := &r.slots[hash%recentSlots]
	slot.hash, slot.at = hash, now
}

// Has reports whether a request was noted within a time.
func (r *Recent) Has(now, within time.Duration, hash uint64) bool {
	slot := &r.slots[hash%recentSlots]
	return slot.hash == hash && slot.at != 0 && now-slot.at < within
}

// Dedup recognizes duplicates of recent requests, which the network made and
// which get no second answer: gosrt makes a new key for every INDUCTION reply
// and may end up with another than its backend. Like Limiter it has a fixed
// size; a duplicate whose entry was overwritten is answered.
type Dedup struct{ recent Recent }

// Seen reports whether a request with this hash came within duplicateWindow, and
// remembers it.
func (d *Dedup) Seen(now time.Duration, hash uint64) bool {
	if d.recent.Has(now, duplicateWindow, hash) {
		return true
	}
	d.recent.Note(now, hash)
	return false
}
