package udp

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cpuSetSize is the number of CPUs that a unix.CPUSet can hold; it ignores higher
// ones.
const cpuSetSize = 1024

// PinThread binds the calling thread to one CPU. The goroutine must be locked to
// the thread, and the thread must end with it, because the binding stays.
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

// SharpenTimers makes the calling thread's short waits end when they are due. By
// default the kernel lets them end up to 50 us later, to end several at once
// (prctl(2), PR_SET_TIMERSLACK). The setting stays with the thread. Best effort.
func SharpenTimers() {
	const nanosecond = 1
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, nanosecond, 0, 0, 0)
}

// shardNice is the niceness of a shard's thread: about nine times the weight of
// an ordinary one (sched_prio_to_weight).
const shardNice = -10

// shardSlice is the time slice that a shard's thread asks for. The shorter it is,
// the sooner the thread runs; this is the shortest that the kernel accepts.
const shardSlice = 100 * time.Microsecond

// PreferThread gives the calling thread precedence when CPUs are short, above all
// over this process's own API and garbage collector. Its niceness gives it more
// time, which needs CAP_SYS_NICE; its slice makes it run sooner after it has
// become runnable (sched_setattr(2), Linux 6.12). Both stay with the thread. Best
// effort.
func PreferThread() {
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, shardNice)
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return // the operator chose another policy, which has no slices
	}
	attr.Runtime = uint64(shardSlice)
	_ = unix.SchedSetAttr(0, attr, 0)
}

// autogroup is the scheduler's setting for this process's session (Linux 2.6.38
// with CONFIG_SCHED_AUTOGROUP).
const autogroup = "/proc/self/autogroup"

// PreferSession gives this process's session the weight that PreferThread gives
// a thread. Where the kernel schedules by session (sched(7), autogroup), the
// niceness of a thread counts only within its session, and one busy process of
// another session gets as much time as this whole session. PreferSession acts
// only if the process leads its session, as a service does; a shell's session
// has other processes in it. Best effort; it needs CAP_SYS_NICE.
func PreferSession() {
	if leader, err := unix.Getsid(0); err != nil || leader != os.Getpid() {
		return
	}
	_ = os.WriteFile(autogroup, []byte(strconv.Itoa(shardNice)), 0)
}

// UsableCPUs lists the CPUs that the calling thread may run on: in a container
// these may be fewer than the host has.
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
