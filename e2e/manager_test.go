//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
	"srtrelay/udp"
)

// serviceManager is the end of the socket at which systemd would receive.
type serviceManager struct {
	t    *testing.T
	conn *net.UnixConn
	name string
}

func newServiceManager(t *testing.T) *serviceManager {
	t.Helper()
	dir, err := os.MkdirTemp("", "srtrelay") // a socket's path must be short
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &serviceManager{t: t, name: filepath.Join(dir, "notify")}
	m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.name, Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { _ = m.conn.Close() })
	return m
}

// start starts a relay as this manager would, with a watchdog.
func (m *serviceManager) start(watchdog time.Duration, flags ...string) *relay {
	m.t.Helper()
	return startRelayBy(m.t, nil, []string{
		"env", "NOTIFY_SOCKET=" + m.name, fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds()), binary,
	}, flags...)
}

// next returns the next message; "" if there is none within a time.
func (m *serviceManager) next(within time.Duration) string {
	m.t.Helper()
	must(m.t, m.conn.SetReadDeadline(time.Now().Add(within)))
	b := make([]byte, 4096)
	n, err := m.conn.Read(b)
	if os.IsTimeout(err) {
		return ""
	}
	must(m.t, err)
	return string(b[:n])
}

// await waits for a message that begins with a text.
func (m *serviceManager) await(prefix string) string {
	m.t.Helper()
	var others []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		message := m.next(time.Until(deadline))
		if strings.HasPrefix(message, prefix) {
			return message
		}
		others = append(others, message)
	}
	m.t.Fatalf("no message %q, but %q", prefix, others)
	return ""
}

// empty discards what has been received.
func (m *serviceManager) empty() {
	m.t.Helper()
	for m.next(time.Millisecond) != "" {
	}
}

// systemd learns that the relay answers, what it does, that it lives, and how long its
// stop may take.
func TestServiceManager(t *testing.T) {
	t.Parallel()
	m := newServiceManager(t)
	r := m.start(400*time.Millisecond, "--drain-delay=1s", "--grace=1h", backendAt(startEcho(t).Addr()))
	m.await("READY=1")
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	for want := "STATUS=sessions: 1, backends that take streams: 1 of 1"; m.await("STATUS=") != want; {
	}
	for range 5 {
		m.await("WATCHDOG=1")
	}
	r.signal(syscall.SIGTERM)
	if got, want := m.await("STOPPING=1"), "STOPPING=1\nEXTEND_TIMEOUT_USEC=3611000000"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	m.await("STATUS=draining, sessions left: 1")
	m.await("WATCHDOG=1")
	must(t, s.SendShutdown())
	if code := r.awaitExit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	m.await("STOPPING=1\nEXTEND_TIMEOUT_USEC=10000000")
}

// A shard that hangs gets the relay no further sign of life, though all its other
// threads run; when it goes on, so do the signs.
func TestWatchdogStarvesWhenAShardHangs(t *testing.T) {
	t.Parallel()
	cpus, err := udp.UsableCPUs()
	must(t, err)
	if len(cpus) < 2 {
		need.Skip(t, "needs two CPUs to tell a pinned thread from others")
	}
	m := newServiceManager(t)
	r := m.start(400*time.Millisecond, "--shards=1", "--pin="+strconv.Itoa(cpus[0]), backendAt(startEcho(t).Addr()))
	m.await("WATCHDOG=1")
	resume := stopThread(t, pinnedThread(t, r.cmd.Process.Pid, cpus[0]))
	r.awaitLog("no sign of life for the service manager, which ends the relay unless this ends soon", func(l logLine) bool {
		return strings.Contains(l.text("error"), "shards [0] do not turn")
	})
	if status, _ := r.call(http.MethodGet, "/live", ""); status != http.StatusOK {
		t.Errorf("/live: %d: other threads do not run", status)
	}
	m.empty()
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); {
		if message := m.next(time.Until(deadline)); strings.Contains(message, "WATCHDOG") {
			t.Errorf("a sign of life of a relay whose shard hangs: %q", message)
		}
	}
	resume()
	m.await("WATCHDOG=1")
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	echo(t, s, 10)
}

// A relay that was stopped altogether gives a sign of life as soon as it runs again, and
// blames no shard.
func TestWatchdogAfterTheRelayWasStopped(t *testing.T) {
	t.Parallel()
	m := newServiceManager(t)
	r := m.start(12*time.Second, backendAt(startEcho(t).Addr()))
	m.await("WATCHDOG=1")
	r.signal(syscall.SIGSTOP)
	time.Sleep(6500 * time.Millisecond) // longer than between two signs
	m.empty()
	r.signal(syscall.SIGCONT)
	began := time.Now()
	m.await("WATCHDOG=1")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a sign of life after %v", took)
	}
	if lines := r.log("no sign of life for the service manager, which ends the relay unless this ends soon"); len(lines) > 0 {
		t.Errorf("%v", lines[0])
	}
}

// pinnedThread returns the thread of a process that may run on one CPU only.
func pinnedThread(t *testing.T, pid, cpu int) int {
	t.Helper()
	tid := 0
	if !eventually(func() bool {
		names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		must(t, err)
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				continue // the thread has ended
			}
			if strings.Contains(string(text), fmt.Sprintf("Cpus_allowed_list:\t%d\n", cpu)) {
				tid, err = strconv.Atoi(filepath.Base(filepath.Dir(name)))
				must(t, err)
			}
		}
		return tid != 0
	}) {
		t.Fatalf("no thread of process %d is pinned to CPU %d", pid, cpu)
	}
	return tid
}

// stopThread stops one thread of another process, as a debugger does, until resume is
// called or the test ends.
func stopThread(t *testing.T, tid int) (resume func()) {
	t.Helper()
	stopped, release, done := make(chan error), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the debugger is a thread
		defer runtime.UnlockOSThread()
		err := syscall.PtraceAttach(tid)
		if err == nil {
			_, err = syscall.Wait4(tid, nil, syscall.WALL, nil)
		}
		stopped <- err
		<-release
		if err == nil {
			_ = syscall.PtraceDetach(tid)
		}
	}()
	resumed := false
	resume = func() {
		if !resumed {
			resumed = true
			close(release)
			<-done
		}
	}
	err := <-stopped
	t.Cleanup(resume)
	if err != nil {
		need.Skip(t, "cannot stop a thread: "+err.Error())
	}
	return resume
}
