//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// podSocket is where a pod finds the folder of its node, with the socket in it.
const podSocket = "/mnt/takeover.sock"

// startPod starts a relay as a node of Kubernetes does: as the first process of a PID
// namespace, in a mount namespace of its own, on the host's network, with a folder that
// the pods of the node share.
func startPod(t *testing.T, folder string, args ...string) *relay {
	t.Helper()
	r := startRelayBy(t, nil, []string{
		"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"sh", "-euc", `mount --bind "$0" /mnt; exec "$@"`, folder, binary,
	}, append([]string{"--takeover=auto", "--takeover-socket=" + podSocket}, args...)...)
	t.Cleanup(func() { // before the relay's own cleanup, which knows only unshare
		if signalPod(r, syscall.SIGTERM) {
			r.awaitExit()
		}
	})
	return r
}

// signalPod signals the relay in a pod; false if it has ended.
func signalPod(r *relay, sig syscall.Signal) bool {
	pid := podPID(r)
	return pid > 0 && syscall.Kill(pid, sig) == nil
}

// podPID returns the PID of the relay in a pod, 0 if it has ended.
func podPID(r *relay) int {
	parent := r.cmd.Process.Pid
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// nextPod starts the pod that replaces r's.
func (r *relay) nextPod(folder string, args ...string) *relay {
	r.t.Helper()
	return startPod(r.t, folder, append([]string{"--api", r.api[len("http://"):], "--listen", r.addr.String()}, args...)...)
}

// An update with maxSurge: 1 has a second pod on the node for a while. It takes over, the
// old one waits for its end, since the kubelet would start its image again, and no stream
// notices.
func TestPodsTakeOver(t *testing.T) {
	need.Root(t, "namespaces for two pods")
	need.Tool(t, "unshare")
	t.Parallel()
	const sessions, rate = 20, 2000
	folder := t.TempDir()
	mirror := startMirror(t)
	args := []string{"--shards=2", backendAt(mirror.Addr())}
	old := startPod(t, folder, args...)
	flows := dialFlows(t, openPort(t, loopback), old, sessions, rate)
	runAll(flows)
	awaitSent(flows, 50)

	next := old.nextPod(folder, args...)
	old.awaitLog("waiting to be stopped", func(logLine) bool { return true })
	awaitSent(flows, 50)
	next.awaitReadiness(http.StatusOK, `"backends_available":1`)
	if !signalPod(old, syscall.SIGTERM) {
		t.Error("the old pod has ended by itself")
	}
	if code := old.awaitExit(); code != 0 {
		t.Errorf("the old pod ends with %d", code)
	}
	awaitSent(flows, 50)
	stopAll(flows)
	checkAll(flows, mirror)
	if st := next.stats(); st["established"] != sessions || st["sessions"] != sessions {
		t.Errorf("%d sessions established, %d there", st["established"], st["sessions"])
	}
}

// A pod that dies before it has proved itself leaves the streams to the one before, which
// cannot see its process: it is in another PID namespace.
func TestPodDiesInItsProbation(t *testing.T) {
	need.Root(t, "namespaces for two pods")
	need.Tool(t, "unshare")
	t.Parallel()
	folder := t.TempDir()
	args := []string{"--shards=2", backendAt(startEcho(t).Addr())}
	old := startPod(t, folder, args...)
	s := mustDial(t, old.addr, srttest.CallerOptions{})
	echo(t, s, 10)
	next := old.nextPod(folder, args...)
	echo(t, s, 10)
	next.killed = true
	signalPod(next, syscall.SIGKILL)
	old.awaitLog("take-over failed, this process goes on", func(logLine) bool { return true })
	echo(t, s, 10)
	echo(t, mustDial(t, old.addr, srttest.CallerOptions{}), 10)
	old.awaitReadiness(http.StatusOK, `"backends_available":1`)

	// The kubelet starts it again.
	next = old.nextPod(folder, args...)
	old.awaitLog("waiting to be stopped", func(logLine) bool { return true })
	echo(t, s, 10)
	if st := next.stats(); st["sessions"] != 2 {
		t.Errorf("%d sessions", st["sessions"])
	}
}
