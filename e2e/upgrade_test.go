//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"srtrelay/internal/clocale"
	"srtrelay/internal/srttest"
)

// srtrelay upgrade, and then SIGUSR2, replace the relay under a stream. One that is refused
// says why, and changes nothing.
func TestUpgradeCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket := filepath.Join(dir, "takeover.sock")
	args := []string{"--shards=2", "--grace=100ms", backendAt(startEcho(t).Addr())}
	r := startRelay(t, append(slices.Clone(args), "--takeover-socket", socket)...)
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	echo(t, s, 10)
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	defer log.Close()
	upgrade := func(more ...string) (string, error) {
		cmd := clocale.CommandContext(patiently(t), binary, slices.Concat([]string{"upgrade"}, r.challengeArgs(socket, args...), more)...)
		cmd.Stderr = log // which the new relay inherits
		out, err := cmd.Output()
		return string(out), err
	}

	if _, err := upgrade("--shards=3"); err == nil {
		t.Error("an upgrade to other shards succeeded")
	}
	awaitText(t, log.Name(), `srtrelay: upgrade: the new process \(PID \d+\): .*shards may not differ: it is "2" here and "3" in the new process`)
	echo(t, s, 10)

	out, err := upgrade()
	must(t, err)
	if want := fmt.Sprintf(`^took over from pid %d in \d+ ms, 1 session\n$`, r.cmd.Process.Pid); !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("upgrade printed %q", out)
	}
	r.awaitExit()
	second := int(r.awaitLog("taken over, this process ends", func(logLine) bool { return true }).number("by"))
	t.Cleanup(func() { endProcess(t, second) })
	echo(t, s, 10)

	must(t, syscall.Kill(second, syscall.SIGUSR2))
	third, err := strconv.Atoi(awaitText(t, log.Name(), `taken over, this process ends" by=(\d+)`))
	must(t, err)
	t.Cleanup(func() { endProcess(t, third) })
	echo(t, s, 10)
}

// awaitText waits until a file has a text, and returns its last submatch.
func awaitText(t *testing.T, file, pattern string) string {
	t.Helper()
	var (
		text []byte
		m    []string
	)
	if !eventually(func() bool {
		var err error
		text, err = os.ReadFile(file)
		must(t, err)
		m = regexp.MustCompile(pattern).FindStringSubmatch(string(text))
		return m != nil
	}) {
		t.Fatalf("no %s in:\n%s", pattern, text)
	}
	return m[len(m)-1]
}

// endProcess stops a process that is not a child of the test, and waits for its end.
func endProcess(t *testing.T, pid int) {
	t.Helper()
	_ = syscall.Kill(pid, syscall.SIGTERM)
	if !eventually(func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, state, _ := strings.Cut(string(b), ") ")
		return err != nil || strings.HasPrefix(state, "Z")
	}) {
		t.Errorf("process %d does not end", pid)
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
