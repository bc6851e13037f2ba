//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"srtrelay/bench/lab"
	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

const goingOn = "going on with the sessions of a process that died"

// deadFor is how long the relay is dead in a test.
func deadFor() time.Duration {
	if upgradeTest {
		return 10 * time.Second
	}
	return 2 * time.Second
}

// sameListeners are the arguments of a relay with the listeners of r.
func sameListeners(r *relay, args ...string) []string {
	for _, a := range r.all {
		args = append(args, "--listen="+a.String())
	}
	return args
}

// Numbered datagrams in the kernel path go both ways while the relay is killed, dead, and
// started again: none is lost or overtaken, and no session leaves the path. So they do through
// a second crash, of a process that has gone on.
func TestKernelPathSurvivesCrash(t *testing.T) {
	t.Parallel()
	const sessions, perSecond = 200, 20
	k := openKernelLab(t)
	m := newDescriptorStore(t)
	var seen payloads
	l := k.backend(k.Origin, loopback.Addr(), &seen)
	args := []string{"--kernel-path=require", "--shards=2", backendAt(l.Addr())}
	r := m.start(k.Origin, append(args, "--listen="+at(origin4, 0))...)
	flows := append(
		dialFlows(t, k.port(callers4), r, sessions/2, sessions/2*perSecond),
		dialFlows(t, k.port(callers4), r, sessions/2, sessions/2*perSecond)...,
	)
	runAll(flows)
	awaitInKernel(r, flows)
	for crash := range 2 {
		m.awaitKept()
		r.kill()
		died := time.Now()
		awaitSent(flows, perSecond/2) // while nobody is there
		time.Sleep(time.Until(died.Add(deadFor())))
		r = m.start(k.Origin, sameListeners(r, args...)...)
		line := r.awaitLog(goingOn, func(logLine) bool { return true })
		if line.number("sessions") != sessions || line.number("in_kernel") != sessions || line.number("ended")+line.number("unfit")+line.number("damaged") != 0 ||
			line.number("kernel_entries_deleted") != 0 || line.number("leases_renewed") < 0 {
			t.Errorf("crash %d: %v", crash, line)
		}
		awaitSent(flows, perSecond/2)
		st := r.stats()
		if st["kernel_path_sessions"] != sessions || st["sessions"] != sessions || st["kernel_path_handovers"] != 0 {
			t.Errorf("crash %d: %d sessions, %d in the kernel path, %d handovers", crash, st["sessions"], st["kernel_path_sessions"], st["kernel_path_handovers"])
		}
		t.Logf("crash %d: %v", crash, line)
	}
	stopAll(flows)
	checkAll(flows, l)
	if seen.bad.Load() != 0 {
		t.Errorf("%d payloads changed", seen.bad.Load())
	}
	// New callers, and the end of old ones, are as ever.
	echo(t, dialFlows(t, k.port(callers4), r, 1, 1)[0].s, 1)
	must(t, flows[0].s.SendShutdown())
	r.await("the end of a session that has gone on", func(st stats) bool { return st["tombstones"] > 0 })
	t.Logf("%d datagrams each way through two crashes, %v dead each", sent(flows), deadFor())
}

// A real libsrt's encrypted live stream over a lossy path goes on through a crash, byte by
// byte and as one connection.
func TestKernelPathRealLiveSurvivesCrash(t *testing.T) {
	t.Parallel()
	stdbuf, tool := need.Tool(t, "stdbuf"), need.Tool(t, "srt-live-transmit")
	k := openKernelLab(t)
	m := newDescriptorStore(t)
	far := k.behind(k.Origin, "far", 78)
	transmit := func(at *lab.Namespace, from, to string) *program {
		return k.program(at, stdbuf, "-i0", "-o0", tool, "-a:no", "-chunk:1316", "-buffering:1", from, to)
	}
	const options = repairable + "&pbkeylen=32&passphrase=" + passphrase
	sink := transmit(far, fmt.Sprintf("srt://10.78.0.2:%d?mode=listener&transtype=live&%s", farBackend, options), "file://con")
	backend := netip.MustParseAddrPort(fmt.Sprintf("10.78.0.2:%d", farBackend))
	args := []string{"--kernel-path=require", "--shards=2", backendAt(backend)}
	r := m.start(k.Origin, append(args, "--listen="+at(origin4, 0))...)
	pub := transmit(k.Callers, "file://con", fmt.Sprintf("srt://%v?mode=caller&streamid=live/x&%s", r.addr, options))
	if !pub.stderr.await(patience, func(b []byte) bool { return bytes.Contains(b, []byte("SRT target connected")) }) {
		t.Fatalf("the publisher did not connect:\n%s", pub.stderr.bytes())
	}
	lasting := deadFor() + 4*time.Second
	s := &stream{pub: pub, relay: r, received: sink.stdout.size, content: sink.stdout.bytes}
	s.sent = noise(1, int(lasting.Seconds()*messagesPerSecond))
	flown := make(chan error, 1)
	go func() { flown <- s.flow(lasting) }()
	r.await("datagrams in the kernel", func(st stats) bool { return st["kernel_path_to_backend"] > 0 })
	m.awaitKept()
	r.kill()
	time.Sleep(deadFor())
	r = m.start(k.Origin, sameListeners(r, args...)...)
	r.awaitLog(goingOn, func(l logLine) bool { return l.number("in_kernel") == 1 })
	must(t, <-flown)
	if st := r.stats(); st["established"] != 0 || st["sessions"] != 1 {
		t.Errorf("%d sessions established anew, %d there", st["established"], st["sessions"])
	}
}

// killRelay starts a relay without the kernel path, and kills it when n sessions run and
// everything is kept. It returns what the next process starts with.
func killRelay(t *testing.T, l *srttest.Listener, n int) (m *descriptorStore, r *relay, args []string, sessions []*srttest.Session) {
	t.Helper()
	m = newDescriptorStore(t)
	args = []string{"--shards=2", "--kernel-path=off", backendAt(l.Addr())}
	r = m.start(nil, append(args, "--listen=127.0.0.1:0")...)
	for range n {
		s := mustDial(t, r.addr, srttest.CallerOptions{})
		echo(t, s, 5)
		sessions = append(sessions, s)
	}
	m.awaitKept()
	r.kill()
	return m, r, args, sessions
}

// Without the kernel path the sessions of a relay that is started at once go on too: what
// comes meanwhile waits in the sockets. Bindings and backends that have registered are known.
func TestSessionsOutsideTheKernelSurviveCrash(t *testing.T) {
	t.Parallel()
	m, r, args, sessions := killRelay(t, startEcho(t), 20)
	r = m.start(nil, sameListeners(r, args...)...)
	r.awaitLog(goingOn, func(line logLine) bool { return line.number("sessions") == 20 && line.number("in_kernel") == 0 })
	for _, s := range sessions {
		echo(t, s, 5)
		must(t, s.Err())
	}
	if st := r.stats(); st["sessions"] != 20 || st["established"] != 0 {
		t.Errorf("%d sessions, %d established anew", st["sessions"], st["established"])
	}
	// A stop in order leaves nothing to go on with.
	r.signal(syscall.SIGTERM)
	r.awaitExit()
	if names := m.names(); len(names) != 0 {
		t.Errorf("after a stop the store has %q", names)
	}
}

// A relay that comes back too late for its sessions tells both sides at once.
func TestSessionsThatEndWithACrashAreTold(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	m, r, args, sessions := killRelay(t, l, 20)
	died := time.Now()
	time.Sleep(3500 * time.Millisecond) // longer than peers surely wait, and less than they do
	began := time.Now()
	r = m.start(nil, sameListeners(r, args...)...)
	for _, s := range sessions {
		awaitShutdown(t, s)
	}
	t.Logf("all told %v after the start, %v after the SIGKILL", time.Since(began), time.Since(died))
	line := r.awaitLog(goingOn, func(logLine) bool { return true })
	if line.number("ended") != 20 || line.number("sessions") != 0 {
		t.Errorf("%v", line)
	}
	ended := r.awaitLog("session ended", func(logLine) bool { return true })
	if ended.text("cause") != "relay crashed" {
		t.Errorf("%v", ended)
	}
	must(t, l.Await(patiently(t), func() bool { return l.Live() == 0 })) // the backend is told, too
	echo(t, mustDial(t, r.addr, srttest.CallerOptions{}), 5)
}

// What cannot go on is closed, and said so: then the next process begins as ever, and tells
// callers by its session ledger.
func TestCrashThatIsNotSurvived(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args   []string
		spoil  func(m *descriptorStore)
		reason string
	}{
		"other number of shards": {[]string{"--shards=3"}, nil, "it has 2 shards, this process 3"},
		"turned off":             {[]string{"--shards=2", "--crash-recovery=off"}, nil, "--crash-recovery is off"},
		"no checkpoint": {[]string{"--shards=2"}, func(m *descriptorStore) {
			m.remove(func(name string) bool { return strings.HasPrefix(name, "checkpoint/") })
		}, "it has left no checkpoint"},
		"a socket is missing": {[]string{"--shards=2"}, func(m *descriptorStore) {
			m.remove(func(name string) bool { return strings.HasPrefix(name, "front/1/") })
		}, "2 shards need as many"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newDescriptorStore(t)
			l := startEcho(t)
			args := []string{backendAt(l.Addr()), "--session-ledger=" + ledgerPath(t)}
			r := m.start(nil, append(args, "--shards=2", "--listen=127.0.0.1:0")...)
			s := mustDial(t, r.addr, srttest.CallerOptions{})
			echo(t, s, 5)
			m.awaitKept()
			before := m.names()
			r.kill()
			if c.spoil != nil {
				c.spoil(m)
			}
			r = m.start(nil, sameListeners(r, append(args, c.args...)...)...)
			line := r.awaitLog("the sessions of a process that died do not go on, its sockets and its kernel path are closed", func(logLine) bool { return true })
			if !strings.Contains(line.text("reason"), c.reason) {
				t.Errorf("reason %q, want %q", line.text("reason"), c.reason)
			}
			awaitShutdown(t, s)
			echo(t, mustDial(t, r.addr, srttest.CallerOptions{}), 5)
			for _, name := range m.names() {
				if strings.HasPrefix(name, "checkpoint/") && containsString(before, name) {
					t.Errorf("the store still has %s", name)
				}
			}
		})
	}
}

func containsString(all []string, one string) bool {
	for _, each := range all {
		if each == one {
			return true
		}
	}
	return false
}

// Starts that fail with what was kept end: the third begins anew.
func TestCrashLoopBeginsAnew(t *testing.T) {
	t.Parallel()
	m := newDescriptorStore(t)
	l := startEcho(t)
	args := []string{"--shards=1", "--kernel-path=off", backendAt(l.Addr())}
	r := m.start(nil, append(args, "--listen=127.0.0.1:0")...)
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	echo(t, s, 5)
	m.awaitKept()
	r.kill()
	for range 2 { // within checkpoint.Steady
		r = m.start(nil, sameListeners(r, args...)...)
		r.awaitLog(goingOn, func(logLine) bool { return true })
		echo(t, s, 5)
		m.awaitKept()
		r.kill()
	}
	r = m.start(nil, sameListeners(r, args...)...)
	r.awaitLog("the sessions of a process that died do not go on, its sockets and its kernel path are closed", func(line logLine) bool {
		return strings.Contains(line.text("reason"), "2 starts with it have failed")
	})
	echo(t, mustDial(t, r.addr, srttest.CallerOptions{}), 5)
}

// A process that has taken over from another keeps what that had kept.
func TestCrashAfterTakeOver(t *testing.T) {
	t.Parallel()
	m := newDescriptorStore(t)
	l := startEcho(t)
	args := []string{"--shards=2", "--kernel-path=off", backendAt(l.Addr()), "--takeover-socket", filepath.Join(t.TempDir(), "takeover.sock")}
	r := m.start(nil, append(args, "--listen=127.0.0.1:0")...)
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	echo(t, s, 5)
	m.awaitKept()
	first := m.names()
	next := startRelayBy(t, nil, []string{"env", "NOTIFY_SOCKET=" + m.name, binary}, sameListeners(r, append(args, "--takeover=require")...)...)
	r.awaitExit()
	m.await("the new process' checkpoint in place of the old one's", func(names []string) bool {
		return countPrefix(names, "checkpoint/") == 1 && len(names) == len(first) && fmt.Sprint(names) != fmt.Sprint(first)
	})
	echo(t, s, 5)
	fresh := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "live/fresh"})
	echo(t, fresh, 5)
	next.kill()
	last := m.start(nil, sameListeners(r, args...)...)
	last.awaitLog(goingOn, func(line logLine) bool { return line.number("sessions") == 2 })
	echo(t, s, 5)
	echo(t, fresh, 5)
}

// A process that takes over and keeps nothing leaves nothing of the one before with the service
// manager: its sockets stayed there, bound.
func TestTakeOverWithoutCrashRecoveryClearsTheStore(t *testing.T) {
	t.Parallel()
	m := newDescriptorStore(t)
	args := []string{"--shards=2", "--kernel-path=off", backendAt(startEcho(t).Addr()), "--takeover-socket", filepath.Join(t.TempDir(), "takeover.sock")}
	r := m.start(nil, append(args, "--listen=127.0.0.1:0")...)
	s := mustDial(t, r.addr, srttest.CallerOptions{})
	m.awaitKept()
	startRelayBy(t, nil, []string{"env", "NOTIFY_SOCKET=" + m.name, binary}, sameListeners(r, append(args, "--takeover=require", "--crash-recovery=off")...)...)
	r.awaitExit()
	m.await("an empty store", func(names []string) bool { return len(names) == 0 })
	echo(t, s, 5)
}

// systemd drops what its store has no room for, without a word to the relay, which says so in one
// line. If there is no store, nothing else is offered to it.
func TestStoreWithoutRoom(t *testing.T) {
	t.Parallel()
	for most, want := range map[int]string{0: "the service manager keeps no descriptors", 3: "the service manager does not keep all descriptors"} {
		m := newDescriptorStore(t)
		m.most = most
		r := m.start(nil, "--shards=2", "--kernel-path=off", backendAt(startEcho(t).Addr()))
		r.awaitLog(want+", sessions end with a crash: see FileDescriptorStoreMax= of the unit", func(line logLine) bool {
			return most == 0 || line.number("needed") > 4
		})
		echo(t, mustDial(t, r.addr, srttest.CallerOptions{}), 5)
		r.signal(syscall.SIGTERM)
		r.awaitExit()
		m.mu.Lock()
		if lost := m.lost; most == 0 && lost != 1 {
			t.Errorf("%d descriptors were offered", lost)
		}
		m.mu.Unlock()
	}
}
