//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"srtrelay/bench/lab"
	"srtrelay/internal/freeaddr"
	"srtrelay/internal/srttest"
)

// keptRelay is srtrelay keep with the relay that is its child. The process of relay is the
// parent.
type keptRelay struct {
	*relay
	checkpoint uint64 // that crash has last seen
}

// startKept starts a relay and its parent. A test that fails leaves neither behind.
func startKept(t *testing.T, at *lab.Namespace, args ...string) *keptRelay {
	t.Helper()
	r := &keptRelay{}
	t.Cleanup(func() {
		if r.relay == nil || !t.Failed() {
			return
		}
		for _, msg := range []string{"program started", "another process has taken over"} {
			for _, line := range r.log(msg) {
				if pid := int(line.number("pid")); pid > 1 {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
	})
	r.relay = startRelayBy(t, at, []string{binary, "keep"}, args...)
	return r
}

// childPID awaits the nth line with a message, and returns the process of which it says that it
// relays.
func (r *keptRelay) childPID(msg string, n int) int {
	r.t.Helper()
	r.awaitLog(msg, func(logLine) bool { return len(r.log(msg)) >= n })
	return int(r.log(msg)[n-1].number("pid"))
}

// checkpoints returns the memory files of the sessions' records that the parent has.
func (r *keptRelay) checkpoints() (all []uint64) {
	r.t.Helper()
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", r.cmd.Process.Pid))
	must(r.t, err)
	for _, name := range names {
		if to, err := os.Readlink(name); err != nil || !strings.Contains(to, "srtrelay-checkpoint") {
			continue
		}
		var st syscall.Stat_t
		if syscall.Stat(name, &st) == nil {
			all = append(all, st.Ino)
		}
	}
	return all
}

// crash kills a relay when the parent has everything of it.
func (r *keptRelay) crash(pid int) {
	r.t.Helper()
	var all []uint64
	if !eventually(func() bool {
		all = r.checkpoints()
		return len(all) == 1 && all[0] != r.checkpoint
	}) {
		r.t.Fatalf("the parent has checkpoints %v", all)
	}
	r.checkpoint = all[0]
	if pid <= 1 {
		r.t.Fatalf("process %d", pid)
	}
	must(r.t, syscall.Kill(pid, syscall.SIGKILL))
}

// Without systemd numbered datagrams in the kernel path go both ways while the relay is killed,
// replaced, and killed again: none is lost.
func TestKeepSurvivesCrash(t *testing.T) {
	t.Parallel()
	const sessions, perSecond = 50, 20
	k := openKernelLab(t)
	var seen payloads
	l := k.backend(k.Origin, loopback.Addr(), &seen)
	r := startKept(t, k.Origin, "--kernel-path=require", "--shards=2", backendAt(l.Addr()),
		"--listen="+at(origin4, 10080), "--api", "127.0.0.1:12025", "--takeover-socket", filepath.Join(t.TempDir(), "s"))
	flows := dialFlows(t, k.port(callers4), r.relay, sessions, sessions*perSecond)
	runAll(flows)
	awaitInKernel(r.relay, flows)
	allGoOn := func(n int) {
		t.Helper()
		r.awaitLog(goingOn, func(line logLine) bool {
			return len(r.log(goingOn)) == n && line.number("sessions") == sessions && line.number("in_kernel") == sessions
		})
		awaitSent(flows, perSecond/2)
		if st := r.stats(); st["kernel_path_sessions"] != sessions || st["sessions"] != sessions || st["kernel_path_handovers"] != 0 {
			t.Errorf("%d sessions, %d in the kernel path, %d handovers", st["sessions"], st["kernel_path_sessions"], st["kernel_path_handovers"])
		}
	}
	r.crash(r.childPID("program started", 1))
	r.childPID("program ready", 2)
	allGoOn(1)
	r.signal(syscall.SIGUSR2)
	next := r.childPID("another process has taken over", 1)
	awaitSent(flows, perSecond/2)
	r.crash(next)
	r.childPID("program ready", 3)
	allGoOn(2)
	stopAll(flows)
	checkAll(flows, l)
	if seen.bad.Load() != 0 {
		t.Errorf("%d payloads changed", seen.bad.Load())
	}
	echo(t, dialFlows(t, k.port(callers4), r.relay, 1, 1)[0].s, 1)
	t.Logf("%d datagrams each way through two crashes and a take-over", sent(flows))
	last := r.childPID("program started", 3)
	r.signal(syscall.SIGTERM)
	if code := r.awaitExit(); code != 0 || syscall.Kill(last, 0) == nil {
		t.Errorf("exit code %d; the relay has ended: %v", code, syscall.Kill(last, 0) != nil)
	}
}

// Sessions outside the kernel path go on too, since the next relay is started at once.
func TestKeepSurvivesCrashOutsideTheKernel(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startKept(t, nil, "--kernel-path=off", "--shards=2", backendAt(l.Addr()), "--listen="+freeaddr.New().String())
	var all []*srttest.Session
	for range 20 {
		s := mustDial(t, r.addr, srttest.CallerOptions{})
		echo(t, s, 5)
		all = append(all, s)
	}
	r.crash(r.childPID("program started", 1))
	r.awaitLog(goingOn, func(line logLine) bool { return line.number("sessions") == 20 })
	r.awaitLog("relaying", func(line logLine) bool {
		other := "http://"+line.text("api") != r.api
		r.api = "http://" + line.text("api")
		return other
	})
	for _, s := range all {
		echo(t, s, 5)
		must(t, s.Err())
	}
}

// A relay that cannot start ends its parent with its exit code.
func TestKeepEndsWhenTheRelayCannotStart(t *testing.T) {
	t.Parallel()
	taken := startEcho(t).Addr()
	r := newProcess(t, nil, []string{binary, "keep"}, "--kernel-path=off", backendAt(taken), "--api", taken.String(), "--listen=192.0.2.1:9")
	r.strict, r.killed = false, true
	if code := r.awaitExit(); code != 2 || len(r.log("program started")) != 1 {
		t.Errorf("exit code %d, %d starts", code, len(r.log("program started")))
	}
}
