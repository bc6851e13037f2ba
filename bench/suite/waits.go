package suite

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// shares of a profile's samples, in percent.
type shares struct{ futex, other float64 }

// profileSeconds of the relay's work are looked at.
const profileSeconds = "3"

var (
	futexSymbol = regexp.MustCompile(`futex`)
	lockSymbol  = regexp.MustCompile(`(?i)(^|[._])(lock|unlock|mutex|sema|spin)|lock2|unlock2|slow_?path|queued_spin`)
)

// lockShares samples a process with perf and sums up what it spent in futex
// calls and in other locks, its own and the kernel's.
func lockShares(ctx context.Context, pid int, dir string) (shares, error) {
	if _, err := exec.LookPath("perf"); err != nil {
		return shares{}, errors.New("the program perf is not installed")
	}
	file := filepath.Join(dir, "perf.data")
	record := exec.CommandContext(ctx, "perf", "record", "-q", "-g", "-e", "cpu-clock", "-F", "999", "-o", file,
		"-p", strconv.Itoa(pid), "--", "sleep", profileSeconds)
	if out, err := record.CombinedOutput(); err != nil {
		return shares{}, fmt.Errorf("perf record: %w: %s", err, firstLine(string(out)))
	}
	out, err := exec.CommandContext(ctx, "perf", "report", "-i", file, "--stdio", "-g", "none", "--no-children", "-F", "overhead,symbol").Output()
	if err != nil {
		return shares{}, fmt.Errorf("perf report: %w", err)
	}
	return parseShares(string(out))
}

// parseShares reads lines such as "  12.34%  [k] futex_wait".
func parseShares(text string) (shares, error) {
	var s shares
	lines := 0
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasSuffix(f[0], "%") {
			continue
		}
		percent, err := strconv.ParseFloat(strings.TrimSuffix(f[0], "%"), 64)
		if err != nil {
			continue
		}
		lines++
		switch symbol := strings.Join(f[2:], " "); {
		case futexSymbol.MatchString(symbol):
			s.futex += percent
		case lockSymbol.MatchString(symbol):
			s.other += percent
		}
	}
	if lines == 0 {
		return s, errors.New("perf report: no samples")
	}
	return s, nil
}

// describeProfile says in a line what a mutex or block profile in text form
// holds.
func describeProfile(kind, text string) string {
	var cycles uint64
	stacks := 0
	for line := range strings.Lines(text) {
		count, _, ok := strings.Cut(line, " @")
		if !ok {
			continue
		}
		if f := strings.Fields(count); len(f) == 2 {
			if n, err := strconv.ParseUint(f[0], 10, 64); err == nil {
				stacks++
				cycles += n
			}
		}
	}
	if stacks == 0 {
		return kind + " profile: empty (it stays so where the relay's rate is off)"
	}
	return fmt.Sprintf("%s profile: %d stacks, %d cycles waited; see %s.txt", kind, stacks, cycles, kind)
}
