// Package capture carries copies of datagrams from the shards to whoever
// records them, and never makes a shard wait: a Tap is a shard's end of a
// capture, a bounded ring that drops and counts when it is full.
//
// It must not know what a session is to its shard, nor how a file is written:
// the shards decide whose datagrams to copy, capture/pcapng writes them.
package capture

import (
	"context"
	"math"
	"time"
)

const (
	// ringBudget is the memory of one capture's rings, all shards together.
	// At 50,000 datagrams/s it holds what arrives in five seconds of
	// headers, or in two thirds of a second of payloads.
	ringBudget = 32 << 20
	// One shard's ring has at most maxRing, and minRing however many shards
	// there are: a whole turn's datagrams, a thousand headers and more.
	maxRing = 8 << 20
	minRing = 256 << 10
)

// Session names a session. The fields are those of the shards' own IDs.
type Session struct {
	Shard      int
	Index, Gen uint32
}

// Filter says whose datagrams are wanted.
type Filter struct {
	// Streams are affinity keys: all sessions of theirs, also those that begin
	// later. "" is the key of the default route.
	Streams []string
	// Sessions are single sessions.
	Sessions []Session
}

// shard reports whether sessions of that shard may be wanted.
func (f Filter) shard(id int) bool {
	if len(f.Streams) > 0 {
		return true
	}
	for _, s := range f.Sessions {
		if s.Shard == id {
			return true
		}
	}
	return false
}

// Keep says how much of what is wanted is kept.
type Keep struct {
	// Payload keeps data packets whole; otherwise their SRT header alone.
	// Control packets are kept whole either way.
	Payload bool
	// Rate is the most datagrams per second of all shards together, 0 for any
	// number.
	Rate int
}

// Capture is one recording: a tap per shard, and one reader. The reader owns
// it; the shards own the taps that they have been given.
type Capture struct {
	Filter Filter
	// Origin is when the shards' time was 0, by the clock of the capture's
	// beginning.
	Origin time.Time
	taps   []*Tap // by shard; nil where nothing is wanted
	bell   *bell
	total  Limiter
	over   [2]uint64 // dropped by total
}

// New makes a capture of a relay with so many shards.
func New(f Filter, k Keep, shards int) *Capture {
	c := &Capture{Filter: f, taps: make([]*Tap, shards), bell: newBell()}
	if k.Rate > 0 && shards > 1 {
		// A single shard's own limit is the total.
		c.total = NewLimiter(k.Rate)
	}
	size := max(minRing, min(maxRing, floorPower(ringBudget/max(shards, 1))))
	for id := range c.taps {
		if f.shard(id) {
			c.taps[id] = newTap(k, size, c.bell)
		}
	}
	return c
}

// floorPower is the greatest power of two that is not above n.
func floorPower(n int) int {
	p := 1
	for p <= n/2 {
		p *= 2
	}
	return p
}

// Tap is what shard id is to be given, nil if none of its sessions is wanted.
func (c *Capture) Tap(id int) *Tap { return c.taps[id] }

// Next takes the oldest record that a shard has handed over, false if there is
// none. Its bytes are valid until the next call. Of one shard, and so of one
// session, records come in order.
func (c *Capture) Next(rec *Record) bool {
	for {
		oldest, at := (*Tap)(nil), time.Duration(math.MaxInt64)
		for _, t := range c.taps {
			if t == nil {
				continue
			}
			if first, ok := t.ring.peek(); ok && first < at {
				oldest, at = t, first
			}
		}
		if oldest == nil {
			return false
		}
		oldest.ring.take(rec)
		if c.total.Allow(at) {
			return true
		}
		rec.How.eachLeg(func(l Leg) { c.over[l]++ })
	}
}

// Wait returns when there may be something to take, or all taps have ended, or
// ctx has.
func (c *Capture) Wait(ctx context.Context) {
	c.bell.arm()
	if c.pending() || c.Ended() {
		return // it came before the bell was armed
	}
	select {
	case <-c.bell.rung:
	case <-ctx.Done():
	}
}

func (c *Capture) pending() bool {
	for _, t := range c.taps {
		if t != nil && t.ring.pending() {
			return true
		}
	}
	return false
}

// Ended reports whether no tap can bring more: the sessions that were named
// are gone, or the shards are. What they handed over may still be there.
func (c *Capture) Ended() bool {
	for _, t := range c.taps {
		if t != nil && !t.ended.Load() {
			return false
		}
	}
	return true
}

// Dropped is how many datagrams of a leg were left out so far: because a ring
// was full, and beyond the rate.
func (c *Capture) Dropped(l Leg) (full, limited uint64) {
	limited = c.over[l]
	for _, t := range c.taps {
		if t != nil {
			full += t.public.full[l].Load()
			limited += t.public.limited[l].Load()
		}
	}
	return full, limited
}
