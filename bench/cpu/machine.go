package cpu

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of /proc/stat, 1/USER_HZ, which is 100 on every Linux
// that Go runs on.
const tick = 10 * time.Millisecond

// Times is one line of /proc/stat since boot.
type Times struct {
	User, Nice, System, Idle, IOWait, IRQ, SoftIRQ, Steal time.Duration
}

// Ticked is the time that the kernel's accounting assigned to work. If the kernel accounts
// by timer tick, this is a sample: the thread that runs at the tick gets a whole one.
func (t Times) Ticked() time.Duration { return t.User + t.Nice + t.System + t.IRQ + t.SoftIRQ }

// Quiet is the time in which this machine did no work: it was idle, waited for a disk, or
// the hypervisor took it. With NO_HZ the kernel measures idle time by the
// clock, so that wall time less Quiet is exact where Ticked is sampled.
func (t Times) Quiet() time.Duration { return t.Idle + t.IOWait + t.Steal }

func (t Times) sub(o Times) Times {
	return Times{
		t.User - o.User, t.Nice - o.Nice, t.System - o.System, t.Idle - o.Idle,
		t.IOWait - o.IOWait, t.IRQ - o.IRQ, t.SoftIRQ - o.SoftIRQ, t.Steal - o.Steal,
	}
}

// ParseStat reads /proc/stat: one Times per CPU that is online, in the order
// of the file. The line of the sum is left out, because it is rounded anew.
func ParseStat(text string) ([]Times, error) {
	var all []Times
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || !strings.HasPrefix(f[0], "cpu") || f[0] == "cpu" {
			continue
		}
		if len(f) < 9 {
			return nil, fmt.Errorf("parse /proc/stat: %s has %d columns, want 8", f[0], len(f)-1)
		}
		var v [8]time.Duration
		for i := range v {
			n, err := strconv.ParseUint(f[i+1], 10, 62)
			if err != nil {
				return nil, fmt.Errorf("parse /proc/stat: %s: %w", f[0], err)
			}
			v[i] = time.Duration(n) * tick
		}
		all = append(all, Times{v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]})
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("parse /proc/stat: no CPU found")
	}
	return all, nil
}

func readStat() ([]Times, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil, fmt.Errorf("read CPU times: %w", err)
	}
	return ParseStat(string(text))
}
