//go:build linux

package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// namespacePrefix begins the names of all namespaces of all benches; the PID
// and start time of the owner follow.
const namespacePrefix = "srtbench-"

// ownMark names this process for ever: PIDs are used again, a PID with its
// start time is not.
func ownMark() (string, error) {
	start, err := startTime(fmt.Sprint(os.Getpid()))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d-%s", os.Getpid(), start), nil
}

// startTime is field 22 of /proc/PID/stat, in ticks since boot. The fields
// are counted behind the command, which may contain anything.
func startTime(pid string) (string, error) {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return "", fmt.Errorf("read start time: %w", err)
	}
	_, behind, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
	fields := strings.Fields(behind)
	if len(fields) < 20 {
		return "", fmt.Errorf("read start time: /proc/%s/stat is short", pid)
	}
	return fields[19], nil
}

// Sweep removes the namespaces whose owner is dead and returns their names.
// Their processes should have died with the owner; those that did not are
// ended.
func Sweep() ([]string, error) {
	entries, err := os.ReadDir("/run/netns")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	var swept []string
	for _, e := range entries {
		if !stale(e.Name()) {
			continue
		}
		if err := removeNamespace(e.Name()); err != nil {
			return swept, fmt.Errorf("sweep: %w", err)
		}
		swept = append(swept, e.Name())
	}
	return swept, nil
}

// stale reports whether name is a bench's namespace without an owner.
func stale(name string) bool {
	rest, ours := strings.CutPrefix(name, namespacePrefix)
	parts := strings.Split(rest, "-")
	if !ours || len(parts) != 3 {
		return false
	}
	start, err := startTime(parts[0])
	return err != nil || start != parts[1]
}
