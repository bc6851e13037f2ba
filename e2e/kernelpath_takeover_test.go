//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"srtrelay/bench/lab"
	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// Numbered datagrams in the kernel path go both ways through take-overs: none is lost or
// overtaken, no session leaves the path, and no process loses count.
func TestKernelPathTakenOver(t *testing.T) {
	t.Parallel()
	const perSecond = 50
	sessions := 100
	if upgradeTest {
		sessions = 200
	}
	k := openKernelLab(t)
	socket := filepath.Join(t.TempDir(), "takeover.sock")
	var seen payloads
	l := k.backend(k.Origin, loopback.Addr(), &seen)
	r := k.relay(backendAt(l.Addr()), "--shards=2", "--takeover-socket", socket)
	flows := append(
		dialFlows(t, k.port(callers4), r, sessions/2, sessions/2*perSecond),
		dialFlows(t, k.port(callers4), r, sessions/2, sessions/2*perSecond)...,
	)
	runAll(flows)
	awaitInKernel(r, flows)
	var processes chain
	for range takeOvers() {
		awaitSent(flows, perSecond)
		before := r.stats()
		r = r.successor(socket, backendAt(l.Addr()), "--shards=2", "--kernel-path=require")
		after := r.stats()
		if after["kernel_path_sessions"] != uint64(sessions) || after["kernel_path_handovers"] != before["kernel_path_handovers"] {
			t.Errorf("%d sessions in the kernel path; %d handovers, before %d",
				after["kernel_path_sessions"], after["kernel_path_handovers"], before["kernel_path_handovers"])
		}
		processes.add(r)
	}
	processes.check(t)
	awaitSent(flows, perSecond)
	checkTakenOver(t, r, flows, l, &seen)
	st := r.settled(sent(flows))
	t.Logf("%d datagrams each way, %d and %d of them in the kernel, %d handovers",
		sent(flows), st["kernel_path_to_backend"], st["kernel_path_to_caller"], st["kernel_path_handovers"])
}

// checkTakenOver ends the flows, and checks them and the relay's sessions.
func checkTakenOver(t *testing.T, r *relay, flows []*numberedFlow, l *srttest.Listener, seen *payloads) {
	t.Helper()
	stopAll(flows)
	checkAll(flows, l)
	st := r.stats()
	if n := uint64(len(flows)); st["sessions"] != n || st["established"] != n || seen.bad.Load() != 0 {
		t.Errorf("%d sessions, %d established, of %d; %d payloads changed", st["sessions"], st["established"], n, seen.bad.Load())
	}
}

// A real libsrt's encrypted live stream over a lossy path goes on, byte by byte and as one
// session.
func TestKernelPathRealLiveTakenOver(t *testing.T) {
	t.Parallel()
	stdbuf, tool := need.Tool(t, "stdbuf"), need.Tool(t, "srt-live-transmit")
	k := openKernelLab(t)
	far := k.behind(k.Origin, "far", 78)
	socket := filepath.Join(t.TempDir(), "takeover.sock")
	transmit := func(at *lab.Namespace, from, to string) *program {
		return k.program(at, stdbuf, "-i0", "-o0", tool, "-a:no", "-chunk:1316", "-buffering:1", from, to)
	}
	const options = repairable + "&pbkeylen=32&passphrase=" + passphrase
	sink := transmit(far, fmt.Sprintf("srt://10.78.0.2:%d?mode=listener&transtype=live&%s", farBackend, options), "file://con")
	p := newRealPath(k, far, false, "--takeover-socket", socket)
	pub := transmit(k.Callers, "file://con", fmt.Sprintf("srt://%v?mode=caller&streamid=live/x&%s", p.link.Addr(), options))
	if !pub.stderr.await(patience, func(b []byte) bool { return bytes.Contains(b, []byte("SRT target connected")) }) {
		t.Fatalf("the publisher did not connect:\n%s", pub.stderr.bytes())
	}
	const lasting = 10 * time.Second // the probation takes half of it
	s := &stream{pub: pub, relay: p.r, received: sink.stdout.size, content: sink.stdout.bytes}
	s.sent = noise(1, int(lasting.Seconds()*messagesPerSecond))
	flown := make(chan error, 1)
	go func() { flown <- s.flow(lasting) }()
	p.r.await("datagrams in the kernel", func(st stats) bool { return st["kernel_path_to_backend"] > 0 })
	p.r = p.r.successor(socket, backendAt(p.listener(false)), "--shards=2", "--kernel-path=require")
	must(t, <-flown)
	p.carried()
	if st := p.r.stats(); st["established"] != 1 || st["sessions"] != 1 {
		t.Errorf("%d sessions established, %d there", st["established"], st["sessions"])
	}
}

// startInKernel starts a relay that can be taken over from, with running flows that the kernel
// relays to a backend. seen has what arrives there.
func startInKernel(t *testing.T, seen *payloads, sessions, perSecond int) (r *relay, l *srttest.Listener, flows []*numberedFlow, socket string) {
	t.Helper()
	k := openKernelLab(t)
	socket = filepath.Join(t.TempDir(), "takeover.sock")
	l = k.backend(k.Origin, loopback.Addr(), seen)
	r = k.relay(backendAt(l.Addr()), "--takeover-socket", socket)
	flows = dialFlows(t, k.port(callers4), r, sessions, sessions*perSecond)
	runAll(flows)
	awaitInKernel(r, flows)
	return r, l, flows, socket
}

// The new process may have the kernel path off, and the next one on again. Sessions go on in
// user space meanwhile. What passes in the kernel between the freeze and the end of the path
// is in nobody's counters.
func TestKernelPathTurnedOffByTakeOver(t *testing.T) {
	t.Parallel()
	const sessions, perSecond = 20, 50
	var seen payloads
	r, l, flows, socket := startInKernel(t, &seen, sessions, perSecond)
	r = r.successor(socket, backendAt(l.Addr()), "--kernel-path=off")
	awaitSent(flows, perSecond)
	if st := r.stats(); st["kernel_path_sessions"] != 0 {
		t.Errorf("%d sessions in a kernel path that is off", st["kernel_path_sessions"])
	}
	r = r.successor(socket, backendAt(l.Addr()), "--kernel-path=require")
	r.await("all sessions in the kernel path", func(st stats) bool { return st["kernel_path_sessions"] == sessions })
	awaitSent(flows, perSecond)
	checkTakenOver(t, r, flows, l, &seen)
}

// The new process is killed before the old one has left: that takes the path back. What the
// new one has relayed is in nobody's counters.
func TestKernelPathTakenBack(t *testing.T) {
	t.Parallel()
	const sessions, perSecond = 20, 50
	var seen payloads
	r, l, flows, socket := startInKernel(t, &seen, sessions, perSecond)
	for _, mode := range []string{"require", "off"} {
		handovers := r.stats()["kernel_path_handovers"]
		next := r.challenge(socket, backendAt(l.Addr()), "--kernel-path="+mode)
		next.awaitLog("relaying", func(logLine) bool { return true })
		awaitSent(flows, perSecond)
		next.kill()
		r.awaitLog("this process goes on with the sessions of when it was frozen", func(logLine) bool { return true })
		r.await("both ways of all sessions in the kernel", func(st stats) bool {
			return st["kernel_path_sessions"] == sessions && st["kernel_path_handovers"] >= handovers+2*sessions
		})
		awaitSent(flows, perSecond)
	}
	checkTakenOver(t, r, flows, l, &seen)
}
