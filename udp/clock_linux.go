package udp

import (
	"time"

	"golang.org/x/sys/unix"
)

// MonotonicAt returns a time that was read from the clock of this process as a time of
// CLOCK_MONOTONIC, which all processes of a host share.
func MonotonicAt(t time.Time) time.Duration {
	best, at := time.Duration(0), time.Duration(0)
	// The two clocks are read one after the other, and the thread may lose its CPU
	// between: the closest of a few reads.
	for k := range 4 {
		var now unix.Timespec
		before := time.Since(t)
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // fails for unknown clocks only
		gap := time.Since(t) - before
		if k == 0 || gap < best {
			best, at = gap, time.Duration(now.Nano())-before-gap/2
		}
	}
	return at
}
