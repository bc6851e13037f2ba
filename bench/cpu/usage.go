package cpu

import "time"

// Reading is the CPU time of the machine and of some processes at one moment.
type Reading struct {
	At    time.Time
	CPUs  []Times
	Procs map[string]time.Duration
}

// Read reads the CPU time of the machine and of the processes, by the caller's names for
// them. A process that is gone has none.
func Read(procs map[string][]int) (Reading, error) {
	r := Reading{Procs: map[string]time.Duration{}}
	for name, pids := range procs {
		for _, pid := range pids {
			if t, err := ofProcess(pid); err == nil {
				r.Procs[name] += t
			}
		}
	}
	var err error
	r.CPUs, err = readStat()
	r.At = time.Now()
	return r, err
}

// Usage is the CPU time between two readings.
type Usage struct {
	Wall time.Duration
	// Busy is wall time of all CPUs less what was idle, waiting or stolen.
	Busy time.Duration
	// Ticked is the same by the kernel's own assignment, see Times.Ticked.
	Ticked  time.Duration
	SoftIRQ time.Duration
	Steal   time.Duration
	// CPUBusy is Busy of each CPU.
	CPUBusy []time.Duration
	Procs   map[string]time.Duration
}

// Between returns the usage from the first to the second reading.
func Between(a, b Reading) Usage {
	u := Usage{Wall: b.At.Sub(a.At), Procs: map[string]time.Duration{}}
	for i := range min(len(a.CPUs), len(b.CPUs)) {
		d := b.CPUs[i].sub(a.CPUs[i])
		// Rounding to ticks can make an idle CPU seem idle for longer than
		// the window. The sum must keep that, or rounding would be biased.
		busy := u.Wall - d.Quiet()
		u.CPUBusy = append(u.CPUBusy, busy)
		u.Busy += busy
		u.Ticked += d.Ticked()
		u.SoftIRQ += d.SoftIRQ
		u.Steal += d.Steal
	}
	for name, t := range b.Procs {
		u.Procs[name] = t - a.Procs[name]
	}
	return u
}
