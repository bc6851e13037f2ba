//go:build linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"srtrelay/bench/lab"
	"srtrelay/internal/clocale"
	"srtrelay/internal/freeaddr"
	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// keptRelay is srtrelay keep with the relay that is its child. The process of relay is the
// parent.
type keptRelay struct {
	*relay
	checkpoint uint64 // that crash has last seen
	container  bool   // the parent is the first process of a PID namespace
}

// parent is the process of srtrelay keep.
func (r *keptRelay) parent() int {
	if r.container {
		return podPID(r.relay)
	}
	return r.cmd.Process.Pid
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

// descriptors returns the names in /proc of all that the parent has open.
func (r *keptRelay) descriptors() []string {
	r.t.Helper()
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", r.parent()))
	must(r.t, err)
	return names
}

// checkpoints returns the memory files of the sessions' records that the parent has.
func (r *keptRelay) checkpoints() (all []uint64) {
	r.t.Helper()
	for _, name := range r.descriptors() {
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
	r.awaitKept()
	if pid <= 1 {
		r.t.Fatalf("process %d", pid)
	}
	must(r.t, syscall.Kill(pid, syscall.SIGKILL))
}

// awaitKept waits until the parent has what a relay has that it had not kept before, and nothing
// else.
func (r *keptRelay) awaitKept() {
	r.t.Helper()
	var all []uint64
	if !eventually(func() bool {
		all = r.checkpoints()
		return len(all) == 1 && all[0] != r.checkpoint
	}) {
		r.t.Fatalf("the parent has checkpoints %v", all)
	}
	r.checkpoint = all[0]
}

// awaitOtherAPI waits for the API of the next process, which has a port of its own.
func (r *keptRelay) awaitOtherAPI() {
	r.t.Helper()
	r.awaitLog("relaying", func(line logLine) bool {
		other := "http://"+line.text("api") != r.api
		r.api = "http://" + line.text("api")
		return other
	})
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
	r.awaitOtherAPI()
	for _, s := range all {
		echo(t, s, 5)
		must(t, s.Err())
	}
}

// The bug: a relay that docker exec or a shell had started did not know who keeps it. So the next
// upgrade ended the container, or had a second relay started beside the new one, and a crash lost
// all sessions.
func TestKeepKeepsWhatAShellUpgrades(t *testing.T) {
	t.Parallel()
	for name, container := range map[string]bool{"shell": false, "docker exec": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testShellUpgrades(t, container)
		})
	}
}

func testShellUpgrades(t *testing.T, container bool) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	defer log.Close()
	args := []string{"--kernel-path=off", "--shards=2", backendAt(startEcho(t).Addr())}
	all := slices.Concat(args, []string{"--listen=" + freeaddr.New().String(), "--takeover-socket", socket})
	r := &keptRelay{container: container}
	if container {
		need.Root(t, "a PID namespace")
		need.Tools(t, "unshare", "nsenter")
		by := []string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", binary, "keep"}
		r.relay = startRelayBy(t, nil, by, all...)
		t.Cleanup(func() {
			if signalPod(r.relay, syscall.SIGTERM) {
				r.awaitExit()
			}
		})
	} else {
		r = startKept(t, nil, all...)
	}
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	r.awaitKept()
	before := len(r.descriptors())
	for n := range 2 {
		command := slices.Concat([]string{binary, "upgrade"}, r.challengeArgs(socket, args...))
		if container {
			command = slices.Concat([]string{"nsenter", "-t", fmt.Sprint(r.parent()), "-p", "-m"}, command)
		}
		cmd := clocale.CommandContext(patiently(t), command[0], command[1:]...)
		cmd.Stderr = log // which the new relay inherits
		if err := cmd.Run(); err != nil {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("%v: %s", err, text)
		}
		r.childPID("another process has taken over", n+1)
		r.awaitKept()
		echo(t, s, 5)
	}
	const watched = 1 // by a pidfd: a process that another one has started
	if !eventually(func() bool { return len(r.descriptors()) <= before+watched }) {
		t.Errorf("the parent has %d descriptors, had %d", len(r.descriptors()), before)
	}
	if n := len(r.log("program started")); n != 1 {
		t.Errorf("%d programs started", n)
	}
	must(t, syscall.Kill(listenerOf(t, socket), syscall.SIGKILL))
	r.awaitLog(goingOn, func(line logLine) bool { return line.number("sessions") == 1 })
	r.awaitOtherAPI()
	echo(t, s, 5)
	must(t, s.Err())
}

// listenerOf returns the process that listens at a take-over socket.
func listenerOf(t *testing.T, socket string) (pid int) {
	t.Helper()
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: socket, Net: "unixpacket"})
	must(t, err)
	defer conn.Close()
	raw, err := conn.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		peer, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		must(t, err)
		pid = int(peer.Pid)
	}))
	return pid
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
