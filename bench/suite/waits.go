//go:build linux

package suite

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	"srtrelay/internal/clocale"
)

// shares of a profile's samples, in percent.
type shares struct{ futex, other float64 }

// profileSeconds is how long the relay is profiled.
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
	record := clocale.CommandContext(ctx, "perf", "record", "-q", "-g", "-e", "cpu-clock", "-F", "999", "-o", file,
		"-p", strconv.Itoa(pid), "--", "sleep", profileSeconds)
	if out, err := record.CombinedOutput(); err != nil {
		return shares{}, fmt.Errorf("perf record: %w: %s", err, firstLine(string(out)))
	}
	out, err := clocale.CommandContext(ctx, "perf", "report", "-i", file, "--stdio", "-g", "none", "--no-children", "-F", "overhead,symbol").Output()
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

// waiting is what a mutex or block profile holds.
type waiting struct{ all, loops time.Duration }

// loopSymbol is in every stack of a shard's loop. Other stacks have methods of shards too,
// while they wait for a task.
const loopSymbol = "srtrelay/shard.(*Shard).run"

// parseWaiting sums up a profile: all waiting, and that of the shards' loops. In a mutex
// profile a stack is that of the holder of the lock.
func parseWaiting(raw []byte) (w waiting, err error) {
	p, err := profile.ParseData(raw)
	if err != nil {
		return w, err
	}
	delay := slices.IndexFunc(p.SampleType, func(t *profile.ValueType) bool { return t.Type == "delay" && t.Unit == "nanoseconds" })
	if delay < 0 {
		return w, errors.New("no delays in it")
	}
	for _, s := range p.Sample {
		d := time.Duration(s.Value[delay])
		w.all += d
		if slices.ContainsFunc(s.Location, inLoop) {
			w.loops += d
		}
	}
	return w, nil
}

func inLoop(l *profile.Location) bool {
	return slices.ContainsFunc(l.Line, func(line profile.Line) bool {
		return line.Function != nil && line.Function.Name == loopSymbol
	})
}
