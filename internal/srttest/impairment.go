package srttest

import (
	"sync/atomic"
	"time"
)

// Direction is a way through a Link.
type Direction uint8

// Up leads from the client to the target, Down back.
const (
	Up Direction = iota
	Down
)

func (d Direction) String() string {
	if d == Up {
		return "up"
	}
	return "down"
}

// Impairment is what a Link does to one direction. Probabilities run from 0
// to 1 and are independent of each other.
type Impairment struct {
	Loss      float64
	Duplicate float64
	// Reorder is the probability that a packet is held back until 1 to 4
	// later ones of its client have passed, or 10 ms at most.
	Reorder float64
	// Delay is constant. Jitter adds up to its value at random per packet, so
	// that packets closer together than Jitter change places, as with netem.
	Delay, Jitter time.Duration
	// BlackHole drops everything.
	BlackHole bool
}

const (
	reorderSpan     = 4
	reorderPatience = 10 * time.Millisecond
)

// Action is a Hook's verdict on one datagram; Hold makes further ones.
type Action int

const (
	// Pass leaves the datagram to the direction's Impairment. Every other
	// action takes its place, except that Delay and BlackHole still apply.
	Pass Action = 0
	// Drop loses the datagram.
	Drop Action = -1
	// Duplicate sends it twice.
	Duplicate Action = -2
)

// Hold keeps the datagram back until n later ones of the same client and
// direction have passed, or until Link.Release.
func Hold(n int) Action { return Action(max(n, 1)) }

// Hook decides on each datagram of a Link in the order of arrival, before any
// impairment and also in front of a black hole. It may change b in place; b is
// valid until it returns. Calls never overlap.
type Hook func(dir Direction, b []byte) Action

// LinkStats counts datagrams of one direction. Without what is still held or
// delayed, Forwarded = Received - Lost + Duplicated - Overflowed - Failed.
type LinkStats struct {
	Received, Forwarded         uint64
	Lost, Duplicated, Reordered uint64
	// Overflowed were dropped at a bound of the Link itself.
	Overflowed uint64
	// Failed were refused by the kernel.
	Failed uint64
}

// way is one direction's live settings and counters.
type way struct {
	dir                         Direction
	impairment                  atomic.Pointer[Impairment]
	received, forwarded         atomic.Uint64
	lost, duplicated, reordered atomic.Uint64
	overflowed, failed          atomic.Uint64
}

func (w *way) stats() LinkStats {
	return LinkStats{
		Received: w.received.Load(), Forwarded: w.forwarded.Load(),
		Lost: w.lost.Load(), Duplicated: w.duplicated.Load(), Reordered: w.reordered.Load(),
		Overflowed: w.overflowed.Load(), Failed: w.failed.Load(),
	}
}
