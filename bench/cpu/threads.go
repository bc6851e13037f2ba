package cpu

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ParseSchedstat reads /proc/PID/task/TID/schedstat: the nanoseconds on a CPU.
func ParseSchedstat(text string) (time.Duration, error) {
	f := strings.Fields(text)
	if len(f) < 3 {
		return 0, fmt.Errorf("parse schedstat: %d columns, want 3", len(f))
	}
	n, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse schedstat: %w", err)
	}
	return time.Duration(n), nil
}

// ParsePIDStat reads utime and stime of /proc/PID/stat. They are columns 14
// and 15, counted behind the command, which may contain blanks and brackets.
func ParsePIDStat(text string) (time.Duration, error) {
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(f) < 13 {
		return 0, fmt.Errorf("parse stat of process: %d columns behind the command, want 13", len(f))
	}
	var sum time.Duration
	for _, s := range f[11:13] {
		n, err := strconv.ParseUint(s, 10, 62)
		if err != nil {
			return 0, fmt.Errorf("parse stat of process: %w", err)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// ofProcess is the CPU time of all living threads of a process, from the
// scheduler's clock where the kernel shows it, else in ticks. Without
// IRQ_TIME_ACCOUNTING it includes softirq work done on the thread's time.
func ofProcess(pid int) (time.Duration, error) {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("read CPU time of process: %w", err)
	}
	var sum time.Duration
	for _, task := range tasks {
		text, err := os.ReadFile(dir + "/" + task.Name() + "/schedstat")
		if err != nil {
			return ofProcessInTicks(pid)
		}
		t, err := ParseSchedstat(string(text))
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

func ofProcessInTicks(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read CPU time of process: %w", err)
	}
	return ParsePIDStat(string(text))
}
