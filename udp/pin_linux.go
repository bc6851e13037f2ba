package udp

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// cpuSetSize is the number of CPUs that a unix.CPUSet can name; it drops higher
// ones in silence.
const cpuSetSize = 1024

// PinThread binds the calling thread to one CPU. The goroutine must have locked
// itself to the thread, which must end with it: the binding stays.
func PinThread(cpu int) error {
	if cpu < 0 || cpu >= cpuSetSize {
		return fmt.Errorf("pin thread: no CPU %d", cpu)
	}
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin thread to CPU %d: %w", cpu, os.NewSyscallError("sched_setaffinity", err))
	}
	return nil
}

// SharpenTimers lets the calling thread's short waits end when they are due
// instead of up to 50 us later, the slack that the kernel otherwise takes to
// end several at once (prctl(2), PR_SET_TIMERSLACK). The setting stays with the
// thread. Best effort.
func SharpenTimers() {
	const nanosecond = 1
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, nanosecond, 0, 0, 0)
}

// shardNice is the niceness of a shard's thread: about ten times the weight of
// an ordinary one.
const shardNice = -10

// PreferThread lets the calling thread go before others when CPUs are short:
// before this process's own API and collector above all. The setting stays with
// the thread. Best effort, it needs CAP_SYS_NICE.
func PreferThread() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, shardNice) }

// UsableCPUs lists the CPUs that the calling thread may run on, which in a
// container are fewer than the host has.
func UsableCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("list CPUs: %w", os.NewSyscallError("sched_getaffinity", err))
	}
	cpus := make([]int, 0, set.Count())
	for cpu := range cpuSetSize {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}
