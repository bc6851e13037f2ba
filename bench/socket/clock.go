//go:build linux

package socket

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// clockTries is how often two clocks are read together. The shortest try counts, which no
// interrupt has lengthened.
const clockTries = 32

// Clock reads CLOCK_MONOTONIC, which all processes and network namespaces of a
// machine share, without a system call. It belongs to one loop.
type Clock struct {
	base time.Time
	at   int64 // CLOCK_MONOTONIC at base
	// ahead is CLOCK_REALTIME less CLOCK_MONOTONIC: the kernel stamps received
	// datagrams with the former.
	ahead int64
}

// NewClock returns a clock.
func NewClock() *Clock {
	c := &Clock{base: time.Now()}
	c.at = c.offset(unix.CLOCK_MONOTONIC)
	c.Adjust()
	return c
}

// Now is CLOCK_MONOTONIC in ns.
func (c *Clock) Now() int64 { return c.at + int64(time.Since(c.base)) }

// Adjust compares with the wall clock again, which NTP may have moved.
func (c *Clock) Adjust() { c.ahead = c.offset(unix.CLOCK_REALTIME) - c.at }

// Monotonic converts a time of CLOCK_REALTIME.
func (c *Clock) Monotonic(real int64) int64 { return real - c.ahead }

// offset is what another clock showed at base.
func (c *Clock) offset(clock int32) (at int64) {
	var ts unix.Timespec
	shortest := int64(math.MaxInt64)
	for range clockTries {
		before := int64(time.Since(c.base))
		if err := unix.ClockGettime(clock, &ts); err != nil {
			continue // clocks that exist cannot fail
		}
		after := int64(time.Since(c.base))
		if after-before < shortest {
			shortest = after - before
			at = ts.Nano() - (before+after)/2
		}
	}
	return at
}
