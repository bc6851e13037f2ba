package udp

import (
	"fmt"
	"os"
	"strconv"
	"time"

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

// shardSlice is how much CPU time a shard's thread asks for at a time. The less
// it is the sooner the thread gets it; this is the least that the kernel takes.
const shardSlice = 100 * time.Microsecond

// PreferThread lets the calling thread go before others when CPUs are short:
// before this process's own API and collector above all. Its niceness gives it
// more time, which needs CAP_SYS_NICE; its slice gives it that sooner after it
// has become runnable (sched_setattr(2), from Linux 6.12 on). Both stay with the
// thread. Best effort.
func PreferThread() {
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, shardNice)
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return // an operator's choice, which knows no slices
	}
	attr.Runtime = uint64(shardSlice)
	_ = unix.SchedSetAttr(0, attr, 0)
}

// autogroup is this process's session for the scheduler, absent in kernels
// without CONFIG_SCHED_AUTOGROUP (Linux 2.6.38).
const autogroup = "/proc/self/autogroup"

// PreferSession gives this process's session the weight that PreferThread gives
// a thread. Where the kernel schedules by session (sched(7), autogroup), the
// niceness of a thread counts among those of its session only, and any one busy
// process of another session gets as much as this whole one. It does so for a
// process that leads its session, as services do: a shell's session belongs to
// others as well. Best effort, it needs CAP_SYS_NICE.
func PreferSession() {
	if leader, err := unix.Getsid(0); err != nil || leader != os.Getpid() {
		return
	}
	_ = os.WriteFile(autogroup, []byte(strconv.Itoa(shardNice)), 0)
}

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
