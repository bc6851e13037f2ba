// Package capture carries copies of datagrams from the shards to a recorder without ever
// blocking a shard: each shard writes to a Tap, a bounded ring that drops and counts
// datagrams when it is full.
//
// It must not know what a session is to its shard, nor how a file is written: the shards
// choose the datagrams, package pcapng writes them.
package capture

import (
	"context"
	"math"
	"time"

	"srtrelay/internal/tokenbucket"
)

// MaxRate is the greatest limit of datagrams per second, more than a relay can forward.
const MaxRate = 10_000_000

const (
	// ringBudget is the memory of a capture's rings, all shards together. At the
	// default rate of the API it holds some seconds of headers, or most of a second
	// of whole datagrams.
	ringBudget = 32 << 20
	// maxRing and minRing bound the ring of one shard. minRing holds a thousand
	// headers, more than a shard receives per turn.
	maxRing = 8 << 20
	minRing = 256 << 10
)

// Session is the ID of a session, as shards have it.
type Session struct {
	Shard      int
	Index, Gen uint32
}

// Filter selects sessions.
type Filter struct {
	// Streams are affinity keys. They select all sessions of the streams, also those
	// that begin later. "" is the key of the default route.
	Streams []string
	// Sessions selects single sessions.
	Sessions []Session
}

// shard reports whether the filter may select sessions of a shard.
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

// Keep says how much of the selected sessions' datagrams is copied.
type Keep struct {
	// Payload copies data packets whole, otherwise only their SRT headers. Control
	// packets are always copied whole.
	Payload bool
	// Rate is the most datagrams per second of all shards together; 0 for no limit.
	Rate int
}

// Capture is a running capture, with a tap per shard and one reader. The reader owns it;
// each shard owns its tap.
type Capture struct {
	Filter Filter
	// Origin is the wall-clock time at which the shards' clock was 0.
	Origin time.Time
	taps   []*Tap // by shard; nil if the filter selects no session there
	bell   *bell
	total  tokenbucket.Bucket
	over   [2]uint64 // dropped by total, by leg
}

// New returns a capture for a relay with a number of shards.
func New(f Filter, k Keep, shards int) *Capture {
	c := &Capture{Filter: f, taps: make([]*Tap, shards), bell: newBell(), total: newBucket(k.Rate)}
	if shards == 1 {
		c.total = newBucket(0) // the shard's own limit is the total
	}
	size := max(minRing, min(maxRing, floorPower(ringBudget/max(shards, 1))))
	for id := range c.taps {
		if f.shard(id) {
			c.taps[id] = newTap(k, size, c.bell)
		}
	}
	return c
}

// newBucket limits the datagrams per second; 0 for no limit.
func newBucket(rate int) tokenbucket.Bucket {
	if rate == 0 {
		rate = MaxRate
	}
	r := float64(min(rate, MaxRate))
	return tokenbucket.New(r, r)
}

// floorPower returns the greatest power of two that is at most n.
func floorPower(n int) int {
	p := 1
	for p <= n/2 {
		p *= 2
	}
	return p
}

// Tap returns the tap of a shard, nil if the filter selects no session there.
func (c *Capture) Tap(id int) *Tap { return c.taps[id] }

// Next reads the oldest committed record; it returns false if there is none. The record's
// data is valid until the next call. The records of one shard, and so of one session, come
// in order.
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
		if c.total.Take(at) {
			return true
		}
		rec.How.eachLeg(func(l Leg) { c.over[l]++ })
	}
}

// Wait blocks until there may be a record, all taps have ended, or ctx ends.
func (c *Capture) Wait(ctx context.Context) {
	c.bell.arm()
	if c.pending() || c.Ended() {
		return // a record came before the bell was armed
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

// Ended reports whether there will be no more records, because the selected sessions or the
// shards have ended. Committed records may still be unread.
func (c *Capture) Ended() bool {
	for _, t := range c.taps {
		if t != nil && !t.ended.Load() {
			return false
		}
	}
	return true
}

// Dropped returns how many datagrams of a leg were left out so far because a ring was full,
// and because of the rate limit.
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
