package udp

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// SinceBoot is CLOCK_BOOTTIME: the time since the host started, including time in
// suspension, the same for all processes.
func SinceBoot() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(ts.Nano()), nil
}

// clockReads is how often AtMonotonic reads the two clocks to read them close together.
const clockReads = 5

// Monotonic is CLOCK_MONOTONIC: the same for all processes of a host, as long as they have
// the same time namespace.
func Monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(ts.Nano()), nil
}

// AtMonotonic returns the time at which CLOCK_MONOTONIC had, or will have, a value. Two
// processes agree on it within a microsecond.
func AtMonotonic(value time.Duration) (at time.Time, err error) {
	closest := time.Duration(-1)
	for range clockReads {
		before, err1 := Monotonic()
		now := time.Now()
		after, err2 := Monotonic()
		if err := errors.Join(err1, err2); err != nil {
			return at, err
		}
		if apart := after - before; closest < 0 || apart < closest {
			closest, at = apart, now.Add(value-before-apart/2)
		}
	}
	return at, nil
}
