//go:build linux

package e2e

import (
	"net/netip"
	"testing"
)

const (
	// smallMTU is too small for long datagrams, and carries a payload of shortData.
	smallMTU  = "1300" // IPv6 needs 1280
	shortData = 700
)

// A datagram that is too long for its route goes up to user space, where it is
// fragmented. It overtakes none, and none overtakes it.
func TestKernelPathTooLongForTheRoute(t *testing.T) {
	t.Parallel()
	k := openKernelLab(t)
	veth := k.behind(k.Origin, "veth", 78)
	k.ip(k.Origin, "route replace 10.78.0.0/24 dev veth mtu", smallMTU)
	var seen payloads
	l := k.backend(veth, netip.MustParseAddr("10.78.0.2"), &seen)
	r := k.relay(backendAt(l.Addr()))
	flows := dialFlows(t, k.port(callers4), r, 4, 1000)
	runAll(flows)
	r.await("all sessions in the kernel path", func(st stats) bool { return st["kernel_path_sessions"] == 4 })
	awaitSent(flows, 300)
	stopAll(flows)
	checkAll(flows, l)
	st := r.settled(sent(flows))
	if passed := st["kernel_path_to_backend"]; passed == 0 || passed == st["forwarded_to_backend"] {
		t.Errorf("%d datagrams of %d passed in the kernel, want some", passed, st["forwarded_to_backend"])
	}
	if st["kernel_path_sessions"] != 4 {
		t.Errorf("%d sessions left in the kernel path", st["kernel_path_sessions"])
	}
	if seen.bad.Load() != 0 {
		t.Errorf("%d payloads came changed to the backend", seen.bad.Load())
	}
}

// The program does not see datagrams that come in fragments. Their session leaves the
// kernel path, so that from then on none is overtaken.
func TestKernelPathIsLeftByFragments(t *testing.T) {
	t.Parallel()
	k := openKernelLab(t)
	k.ip(k.Callers, "link set veth0 mtu", smallMTU)
	k.ip(k.Origin, "link set veth0 mtu", smallMTU)
	var seen payloads
	l := k.backend(k.Origin, loopback.Addr(), &seen)
	r := k.relay(backendAt(l.Addr()))
	flows := dialFlows(t, k.port(callers4), r, 1, 500)
	f := flows[0]
	f.longest = shortData
	f.run()
	awaitInKernel(r, flows)
	f.stop()
	f.check(l)
	f.longest = longestPayload
	f.run()
	r.await("the session in user space", func(st stats) bool { return st["kernel_path_sessions"] == 0 })
	f.stop()
	reordered := f.s.Counters().Reordered
	f.run()
	awaitSent(flows, 300)
	f.stop()
	conn, _ := connectionOf(t, f.s, l)
	if c := f.s.Counters(); c.Received != f.sent || c.Lost+c.Duplicated+c.Stale != 0 || c.Reordered != reordered {
		t.Errorf("reordered %d before: %+v", reordered, c)
	}
	if c := conn.Counters(); c.Received != f.sent || c.Lost+c.Duplicated+c.Stale != 0 {
		t.Errorf("at the backend: %+v", c)
	}
	r.awaitLog("kernel path: a session stays in user space", func(l logLine) bool {
		return l.text("error") == "its datagrams come in fragments, with translated addresses, or by a device that the program is not attached to"
	})
}
