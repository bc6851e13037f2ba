//go:build linux

package socket

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// memoryLimit bounds a process whose garbage collector is off. The loops allocate
	// nothing, so that it is never reached.
	memoryLimit = 2 << 30
	// processors is more than the one that a sleeping loop holds.
	processors = 4
	// realtime is the lowest priority above all normal threads.
	realtime = 1
)

// Quiet turns garbage collection off and keeps the runtime to few threads. It returns a
// function that undoes it.
func Quiet() (undo func()) {
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(memoryLimit)
	procs := runtime.GOMAXPROCS(processors)
	return func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
		runtime.GOMAXPROCS(procs)
	}
}

// Thread gives the calling goroutine its own thread, on a CPU (any if negative). The thread
// ends with the goroutine.
//
// If the process may, the thread gets a realtime priority, so that it runs as soon as its
// sleep ends. Several such threads take turns when they sleep or Yield.
func Thread(cpu int) error {
	runtime.LockOSThread()
	if cpu >= 0 {
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("pin thread to CPU %d: %w", cpu, os.NewSyscallError("sched_setaffinity", err))
		}
	}
	// The default of 50 µs is a quarter of a tick.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: realtime}
	// Without the right to it the loop runs all the same, and reports its lag.
	_ = unix.SchedSetAttr(0, attr, 0)
	return nil
}

// Sleep waits until CLOCK_MONOTONIC shows at. A signal may end it early.
func Sleep(at int64) {
	ts := unix.NsecToTimespec(at)
	// Raw, so that the runtime does not start another thread each time.
	_, _, _ = unix.RawSyscall6(unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME,
		uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
}

// Yield lets another such thread of this CPU run.
func Yield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// Pause waits until at. If that is past, it yields.
func Pause(c *Clock, at int64) {
	if at > c.Now() {
		Sleep(at)
		return
	}
	Yield()
}
